package hpack

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/weftproxy/weft/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// The same fields, or both an error. x/net differs in two ways: it refuses a second size update when the table has entries, and
// it accepts one after a field when the table has none (RFC 7541 section 4.2 says otherwise in both).
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "\x40\x01a\x01b\xbe\x7e\x01c",
		"\x20\x3f\xe1\x1f\x82", "\x82\x20", "\x00\x01a\x84\xff\xff\xff\xff", "\x10\x01a\x01b", "\xff\x80\x80\x01",
		"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "\x21\x22\x82",
	} {
		f.Add([]byte(s), uint16(len(s)/2))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		var d, skip Decoder
		d.Init(4096)
		skip.Init(4096)
		x := xhpack.NewDecoder(4096, nil)
		n := min(int(cut), len(data))
		for _, block := range [][]byte{data[:n], data[n:]} {
			got, err := decode(&d, block)
			skip.Begin(block)
			if k, err2 := skip.Skip(); (err2 == nil) != (err == nil) || err == nil && k != len(got) {
				t.Fatalf("Skip: %d, %v; Next: %d, %v", k, err2, len(got), err)
			}
			want, wantErr := reference(x, block)
			switch {
			case err == errUpdate || err == errName:
				return
			case wantErr != nil && strings.Contains(wantErr.Error(), "MUST occur at the beginning"):
				return
			case (err == nil) != (wantErr == nil):
				t.Fatalf("%v; x/net: %v", err, wantErr)
			case err != nil:
				return
			case render(got) != render(want):
				t.Fatalf("got\n%sx/net\n%s", render(got), render(want))
			}
			checkTable(t, &d.table)
			if render(entries(&d.table)) != render(entries(&skip.table)) {
				t.Fatal("Skip leaves another table than Next")
			}
		}
	})
}

// What the encoder writes, the decoder and x/net read, whatever the fields and the table's sizes.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("server\x00weft\x00x-custom\x00one\x00x-custom\x00one\x00x-custom\x00one"), []byte{1, 0, 2, 3})
	f.Add([]byte("cookie\x00a=b\x00set-cookie\x00c=d\x00:path\x00/x\x00:status\x00503\x00Authorization\x00me"), []byte{})
	f.Fuzz(func(t *testing.T, text, sizes []byte) {
		fs, names := fuzzFields(text)
		var (
			e Encoder
			d Decoder
		)
		e.Init(8192)
		d.Init(1 << 16)
		x := xhpack.NewDecoder(4096, nil)
		x.SetAllowedMaxDynamicTableSize(1 << 16)
		for range 3 {
			for k := 0; k < 2 && len(sizes) >= 2; k++ {
				e.SetPeerSize(int(binary.BigEndian.Uint16(sizes)))
				sizes = sizes[2:]
			}
			block := encode(&e, names)
			got, err := decode(&d, block)
			if err != nil || len(got) != len(fs) {
				t.Fatalf("%d of %d fields, %v", len(got), len(fs), err)
			}
			for i, p := range got {
				if p.name != fs[i].name || p.value != fs[i].value {
					t.Fatalf("got %v, want %v", p, fs[i])
				}
			}
			want, err := reference(x, block)
			if err != nil || render(got) != render(want) {
				t.Fatalf("got\n%sx/net\n%s%v", render(got), render(want), err)
			}
			checkTable(t, &e.table)
			checkTable(t, &d.table)
		}
	})
}

// fuzzFields makes fields of text, in lower case and as they are.
func fuzzFields(text []byte) (fs, names []pair) {
	parts := strings.Split(string(text), "\x00")
	for i := 0; i+1 < len(parts); i += 2 {
		name := parts[i]
		if len(name) > message.MaxNameLen {
			continue
		}
		names = append(names, pair{name: name, value: parts[i+1]})
		if pseudoOf(name) == Status {
			names[len(names)-1].value = "503"
		}
		lower := []byte(name)
		for k, c := range lower {
			if c-'A' < 26 {
				lower[k] = c | 0x20
			}
		}
		fs = append(fs, pair{name: string(lower), value: names[len(names)-1].value})
	}
	return fs, names
}
