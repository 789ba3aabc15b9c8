package hpack

import (
	"testing"

	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// A sample is a head of eight fields.
type sample struct {
	fields []pair
	known  []message.Known
}

func newSample(s string) sample {
	x := sample{fields: lines(s)}
	for _, p := range x.fields {
		x.known = append(x.known, message.LookupKnown(p.name))
	}
	return x
}

// append encodes a response head.
func (s *sample) append(e *Encoder, b []byte) []byte {
	b = e.Status(e.Begin(b), 200)
	for i := range s.fields {
		b = e.Field(b, s.known[i], s.fields[i].name, s.fields[i].value)
	}
	return b
}

const (
	hits = "server weft|content-type application/json; charset=utf-8|cache-control no-cache|vary accept-encoding|" +
		"via 1.1 proxy|x-custom one|content-encoding gzip"
	misses = "date Mon, 21 Oct 2013 20:13:21 GMT|content-length 12345|etag \"737060cd8c284d8af7ad3082f209582d\"|" +
		"x-request-id 7b1ab5a1-5d9a-4d4b-8a0c-6b2f3fca9d11|x-envoy-upstream-service-time 12|" +
		"last-modified Sun, 20 Oct 2013 20:13:21 GMT|location /some/where/else"
)

// read decodes a block into h, as a codec would.
func read(tb testing.TB, d *Decoder, h *message.Header, block []byte) {
	d.Begin(block)
	for {
		f, ok, err := d.Next(h)
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return
		}
		if f.Pseudo == NotPseudo {
			h.AddKnownAt(f.Known, f.Name, f.NameLen, f.Value, f.ValueLen)
		}
	}
}

// huffman encodes a sample as x/net does where it does not index.
func (s *sample) huffman() []byte {
	b := []byte{0x88}
	for _, p := range s.fields {
		for i, text := range []string{p.name, p.value} {
			if i == 0 {
				b = append(b, 0)
			}
			coded := xhpack.AppendHuffmanString(nil, text)
			b = append(appendInt(b, 0x80, 7, uint32(len(coded))), coded...)
		}
	}
	return b
}

func TestNothingIsAllocated(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	var (
		e Encoder
		d Decoder
		h message.Header
		b []byte
	)
	e.Init(4096)
	d.Init(4096)
	hit, miss := newSample(hits), newSample(misses)
	coded := miss.huffman()
	unique := [8]byte{}
	name := "X-Mixed-Case"
	run := func() {
		b = hit.append(&e, b[:0])
		h.Reset()
		read(t, &d, &h, b)
		b = miss.append(&e, b[:0])
		b = e.Status(b, 503)
		for i := range unique { // each time another entry: eviction, and moves within the tables
			unique[i]++
			b = e.Field(b, message.Unknown, name, view(unique[:]))
			b = e.Field(b, message.Server, "server", view(unique[:]))
		}
		h.Reset()
		read(t, &d, &h, b)
		h.Reset()
		read(t, &d, &h, coded)
		d.Begin(coded)
		if _, err := d.Skip(); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		run()
	}
	if n := testing.AllocsPerRun(500, run); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct{ name, fields string }{{"hits", hits}, {"literals", misses}} {
		b.Run(c.name, func(b *testing.B) {
			s := newSample(c.fields)
			var e Encoder
			e.Init(4096)
			var buf []byte
			for range 3 {
				buf = s.append(&e, buf[:0])
			}
			b.ReportAllocs()
			for b.Loop() {
				buf = s.append(&e, buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	hit, miss := newSample(hits), newSample(misses)
	run := func(name string, d *Decoder, block []byte) {
		b.Run(name, func(b *testing.B) {
			var h message.Header
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				read(b, d, &h, block)
			}
		})
	}
	var (
		e Encoder
		d Decoder
		h message.Header
	)
	e.Init(4096)
	d.Init(4096)
	for range 3 {
		read(b, &d, &h, hit.append(&e, nil))
	}
	run("hits", &d, hit.append(&e, nil))
	run("literals", &d, miss.append(&e, nil))
	run("huffman", &d, miss.huffman())
}
