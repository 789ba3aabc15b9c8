package hpack

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weftproxy/weft/message"
	xhpack "golang.org/x/net/http2/hpack"
)

func TestDecoderRefuses(t *testing.T) {
	long := strings.Repeat("n", message.MaxNameLen+1)
	for name, test := range map[string]struct {
		block string
		want  error
	}{
		"index 0":                           {"\x80", errIndex},
		"index beyond both tables":          {"\xbe", errIndex},
		"a huge index":                      {"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", errIndex},
		"a name's index beyond both tables": {"\x7e\x01v", errIndex},
		"an integer beyond 63 bits":         {"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", errInteger},
		"an integer cut short":              {"\xff\x80", errTruncated},
		"a field without its name":          {"\x40", errTruncated},
		"a name cut short":                  {"\x40\x03ab", errTruncated},
		"a field without its value":         {"\x40\x01a", errTruncated},
		"a value cut short":                 {"\x40\x01a\x02b", errTruncated},
		"a value of almost 2^63 bytes":      {"\x40\x01a\x7f\x80\xff\xff\xff\xff\xff\xff\xff\x7f", errTruncated},
		"EOS in a string":                   {"\x00\x01a\x84\xff\xff\xff\xff", errHuffman},
		"EOS in a long string":              {"\x00\x01a\x8b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", errHuffman},
		"a byte of padding":                 {"\x00\x01a\x82\x1f\xff", errHuffman},
		"nothing but a byte of padding":     {"\x00\x01a\x81\xff", errHuffman},
		"padding of zeros":                  {"\x00\x01a\x81\x18", errHuffman},
		"padding with a zero":               {"\x00\x01a\x81\x1e", errHuffman},
		"a size update after a field":       {"\x82\x20", errUpdate},
		"a size update above the limit":     {"\x3f\xe2\x1f", errSize},
		"a size update cut short":           {"\x3f\xe1", errTruncated},
		"a name too long":                   {string(appendInt([]byte{0}, 0, 7, uint32(len(long)))) + long + "\x00", errName},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			d.Init(4096)
			ps, err := decode(&d, []byte(test.block))
			if !errors.Is(err, test.want) || !errors.Is(err, ErrCompression) {
				t.Errorf("Next: %v, %v; want %v", render(ps), err, test.want)
			}
			d.Init(4096)
			d.Begin([]byte(test.block))
			if n, err := d.Skip(); !errors.Is(err, test.want) {
				t.Errorf("Skip: %d, %v; want %v", n, err, test.want)
			}
		})
	}
}

func TestDecoderAccepts(t *testing.T) {
	for name, test := range map[string]struct{ block, want string }{
		"an empty block":                    {"", ""},
		"nothing but size updates":          {"\x20\x3f\xe1\x1f", ""},
		"size updates before a field":       {"\x20\x3f\xe1\x1f\x82", ":method GET"},
		"empty strings":                     {"\x00\x00\x00", " "},
		"an empty Huffman string":           {"\x00\x01a\x80", "a "},
		"seven bits of padding":             {"\x00\x01a\x85\x1c\x64\x9c\xb2\x7f", "a " + mustHuffman("\x1c\x64\x9c\xb2\x7f")},
		"an index with needless zero bytes": {"\x0f\x80\x80\x00\x01v", "accept-charset v"},
		"an upper-case name":                {"\x00\x05X-Foo\x03Bar", "X-Foo Bar"},
		"a well-known name in another case": {"\x40\x0cContent-Type\x01a\xbe", "Content-Type a|Content-Type a"},
		"pseudo-header fields as literals":  {"\x40\x05:path\x01a\x40\x05:what\x01b\xbe\xbf\x7e\x01c", ":path a|:what b|:what b|:path a|:what c"},
		"an unindexed name of the table":    {"\x40\x01a\x01b\x0f\x2f\x01c\x1f\x2f\x01d", "a b|a c|*a d"},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			d.Init(4096)
			got, err := decode(&d, []byte(test.block))
			if err != nil || render(got) != render(lines(test.want)) {
				t.Errorf("got\n%s%v; want\n%s", render(got), err, render(lines(test.want)))
			}
		})
	}
}

func mustHuffman(s string) string {
	b, err := code.decode(nil, []byte(s))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A literal whose name is that of the entry it pushes out must still find the name.
func TestDecoderReplacesAnEntryByOneOfItsName(t *testing.T) {
	var d Decoder
	d.Init(4096)
	d.table.resize(64)
	got, err := decode(&d, []byte("\x40\x0acustom-key\x0cfirst value!\x7e\x0csecond value\xbe"))
	want := render([]pair{{name: "custom-key", value: "first value!"}, {name: "custom-key", value: "second value"},
		{name: "custom-key", value: "second value"}})
	if err != nil || render(got) != want {
		t.Errorf("got\n%s%v; want\n%s", render(got), err, want)
	}
	if d.table.count() != 1 {
		t.Errorf("%d entries, want 1", d.table.count())
	}
}

func TestDecoderEmptiesTheTableForALargeField(t *testing.T) {
	var d Decoder
	d.Init(4096)
	block := append([]byte("\x40\x01a\x01b\x40\x01a"), appendInt(nil, 0, 7, 4096)...)
	block = append(block, bytes.Repeat([]byte{'v'}, 4096)...)
	if got, err := decode(&d, block); err != nil || len(got) != 2 {
		t.Fatalf("%d fields, %v; want 2", len(got), err)
	}
	if d.table.count() != 0 || d.table.size != 0 {
		t.Errorf("%d entries of %d bytes, want none", d.table.count(), d.table.size)
	}
	if _, err := decode(&d, []byte{0xbe}); !errors.Is(err, errIndex) {
		t.Errorf("an index into the empty table: %v", err)
	}
}

func TestDecoderHoldsThePeerToOurSettings(t *testing.T) {
	for _, test := range []struct {
		name  string
		max   int
		acked bool
		block string
		want  error
	}{
		{"4096 bytes hold until our smaller size is acknowledged", 0, false, "\x40\x01a\x01b\xbe", nil},
		{"an update is due", 0, true, "\x82", errNoUpdate},
		{"the update that is due", 0, true, "\x20\x82", nil},
		{"the update that is due is too large", 0, true, "\x21\x82", errSize},
		{"no update is due for a larger size", 8192, true, "\x82", nil},
		{"an update to the larger size", 8192, true, "\x3f\xe1\x3f\x82", nil},
		{"an update above the larger size", 8192, true, "\x3f\xe2\x3f\x82", errSize},
		{"a negative size is none", -1, true, "\x20\x40\x01a\x01b\xbe", errIndex},
		{"the size that a block began with stays", 100, true, "\x3f\x45\x82", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d Decoder
			d.Init(test.max)
			if test.acked {
				d.Acked()
			}
			if _, err := decode(&d, []byte(test.block)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// A block of one-byte fields that each stand for 4 KiB: the caller sees Size and skips the rest, which costs no memory.
func TestSkipStoresNothing(t *testing.T) {
	var d Decoder
	d.Init(4096)
	block := append([]byte("\x40\x01a"), appendInt(nil, 0, 7, 4000)...)
	block = append(block, bytes.Repeat([]byte{'v'}, 4000)...)
	block = append(block, bytes.Repeat([]byte{0xbe}, 60<<10)...)
	block = append(block, "\x40\x04last\x01v"...)

	var h message.Header
	d.Begin(block)
	for range 5 {
		if _, ok, err := d.Next(&h); err != nil || !ok || d.Size() != 1+4000+32 {
			t.Fatal(d.Size(), ok, err)
		}
	}
	before := h.Cap()
	n, err := d.Skip()
	if want := 1 + 60<<10 + 1 - 5; err != nil || n != want {
		t.Errorf("skipped %d fields, %v; want %d", n, err, want)
	}
	if h.Cap() != before {
		t.Errorf("the header grew from %d to %d bytes", before, h.Cap())
	}
	if cap(d.table.buf) > 2*4096 {
		t.Errorf("the table holds %d bytes", cap(d.table.buf))
	}
	if got, err := decode(&d, []byte{0xbe}); err != nil || render(got) != render(lines("last v")) {
		t.Errorf("after Skip: %v, %v", render(got), err)
	}
}

func TestSkipKeepsTheTableAsNextDoes(t *testing.T) {
	var next, skip Decoder
	next.Init(4096)
	skip.Init(4096)
	var out bytes.Buffer
	enc := xhpack.NewEncoder(&out)
	for i := range 200 {
		out.Reset()
		fs := randomFields(newRand(uint64(i)))
		for _, f := range fs {
			enc.WriteField(xhpack.HeaderField{Name: f.name, Value: f.value, Sensitive: f.sensitive})
		}
		if _, err := decode(&next, out.Bytes()); err != nil {
			t.Fatal(err)
		}
		skip.Begin(out.Bytes())
		if n, err := skip.Skip(); err != nil || n != len(fs) {
			t.Fatalf("skipped %d of %d fields: %v", n, len(fs), err)
		}
		if a, b := render(entries(&next.table)), render(entries(&skip.table)); a != b {
			t.Fatalf("tables differ:\n%s\n%s", a, b)
		}
	}
}

// The arena moves while a block is decoded; fields that were decoded before must not suffer.
func TestDecoderAppendsToAGrowingHeader(t *testing.T) {
	var (
		d Decoder
		h message.Header
	)
	d.Init(4096)
	h.Add("before", "kept")
	want := []pair{{name: "before", value: "kept"}}
	block := []byte{}
	for i := range 200 {
		p := pair{name: strings.Repeat("n", i+1), value: strings.Repeat("v", 3*i)}
		want = append(want, p)
		block = append(appendInt(append(block, 0), 0, 7, uint32(len(p.name))), p.name...)
		if i%2 == 0 {
			block = append(appendInt(block, 0, 7, uint32(len(p.value))), p.value...)
		} else {
			coded := xhpack.AppendHuffmanString(nil, p.value)
			block = append(appendInt(block, 0x80, 7, uint32(len(coded))), coded...)
		}
	}
	d.Begin(block)
	for {
		f, ok, err := d.Next(&h)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		h.AddKnownAt(f.Known, f.Name, f.NameLen, f.Value, f.ValueLen)
	}
	got := []pair{}
	for name, value := range h.All() {
		got = append(got, pair{name: name, value: value})
	}
	if render(got) != render(want) {
		t.Errorf("got\n%s", render(got))
	}
}

// A table that nothing enters costs nothing, and one that is full at most about twice its size.
func TestTableMemory(t *testing.T) {
	var d Decoder
	d.Init(64 << 10)
	if _, err := decode(&d, []byte("\x82\x86\x84\x00\x01a\x01b")); err != nil {
		t.Fatal(err)
	}
	if d.table.ring != nil || d.table.buf != nil {
		t.Error("an empty table has memory")
	}
	d.table.resize(64 << 10)
	r := newRand(1)
	for range 100000 {
		d.table.add(entry{}, "some-name", randomText(r, 300))
		checkRoom(t, &d.table)
	}
	checkTable(t, &d.table)
	d.table.resize(0)
	if d.table.ring != nil || d.table.buf != nil {
		t.Error("a table of no bytes has memory")
	}
}

func checkRoom(t *testing.T, tab *table) {
	t.Helper()
	if cap(tab.buf) > 2*tab.max+1024 || len(tab.ring) > 2*tab.max/32 {
		t.Fatalf("a table of %d bytes has %d bytes of text and %d places", tab.max, cap(tab.buf), len(tab.ring))
	}
}

// Offsets and numbers wrap after 4 GiB of text and as many entries.
func TestTableWrapsAround(t *testing.T) {
	const start = 1<<32 - 2000
	tab := table{max: 4096, head: start, tail: start, base: start}
	r := newRand(2)
	var want []pair
	for range 5000 {
		p := pair{name: randomText(r, 20), value: randomText(r, 40)}
		tab.add(entry{}, p.name, p.value)
		want = append([]pair{p}, want[:min(len(want), 100)]...)
		got := entries(&tab)
		if render(got) != render(want[:len(got)]) {
			t.Fatalf("at %d:\n%swant\n%s", tab.tail, render(got), render(want))
		}
		checkTable(t, &tab)
	}
	if tab.tail > start || tab.base > start {
		t.Fatal("nothing wrapped")
	}
}
