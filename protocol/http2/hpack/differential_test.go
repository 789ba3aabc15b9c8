package hpack

import (
	"bytes"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

func TestDecoderReadsWhatXNetWrites(t *testing.T) {
	for seed := range uint64(20) {
		r := newRand(seed)
		var (
			d   Decoder
			out bytes.Buffer
		)
		max := 4096 << r.IntN(3)
		d.Init(max)
		e := xhpack.NewEncoder(&out)
		e.SetMaxDynamicTableSizeLimit(uint32(max))
		for range 100 {
			out.Reset()
			if r.IntN(10) == 0 {
				e.SetMaxDynamicTableSize(uint32(r.IntN(max + 1)))
			}
			fs := randomFields(r)
			for _, f := range fs {
				e.WriteField(xhpack.HeaderField{Name: f.name, Value: f.value, Sensitive: f.sensitive})
			}
			got, err := decode(&d, out.Bytes())
			if err != nil || render(got) != render(fs) {
				t.Fatalf("seed %d: got\n%s%v; want\n%s", seed, render(got), err, render(fs))
			}
			checkTable(t, &d.table)
		}
	}
}

func TestXNetReadsWhatEncoderWrites(t *testing.T) {
	for seed := range uint64(20) {
		r := newRand(100 + seed)
		const most = 16 << 10
		d := xhpack.NewDecoder(4096, nil)
		d.SetAllowedMaxDynamicTableSize(most)
		var e Encoder
		e.Init(r.IntN(most))
		for range 200 {
			for range r.IntN(4) - 1 {
				e.SetPeerSize(r.IntN(most))
			}
			fs := randomFields(r)
			got, err := reference(d, encode(&e, fs))
			for i, f := range fs {
				// These the encoder makes sensitive of itself.
				fs[i].sensitive = f.sensitive || i < len(got) && got[i].sensitive
			}
			if err != nil || render(got) != render(fs) {
				t.Fatalf("seed %d: got\n%s%v; want\n%s", seed, render(got), err, render(fs))
			}
			checkTable(t, &e.table)
		}
	}
}
