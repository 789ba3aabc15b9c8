package hpack

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/weftproxy/weft/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// encode appends a block of fields, as a codec would.
func encode(e *Encoder, ps []pair) []byte {
	b := e.Begin(nil)
	for _, p := range ps {
		switch pseudo := pseudoOf(p.name); {
		case p.sensitive:
			b = e.Sensitive(b, message.LookupKnown(p.name), p.name, p.value)
		case pseudo == Status && statusOf(p.value) != 0:
			b = e.Status(b, statusOf(p.value))
		case pseudo != OtherPseudo:
			b = e.Pseudo(b, pseudo, p.value)
		default:
			b = e.Field(b, message.LookupKnown(p.name), p.name, p.value)
		}
	}
	return b
}

// statusOf returns the status that s is, 0 when it is none.
func statusOf(s string) int {
	if n, err := strconv.Atoi(s); err == nil && n >= 100 && n <= 999 && len(s) == 3 {
		return n
	}
	return 0
}

func TestEncoderChoosesARepresentation(t *testing.T) {
	cookie := "session=" + strings.Repeat("c", 20)
	long := strings.Repeat("v", 257)
	longest := strings.Repeat("v", 256)
	for _, test := range []struct {
		field string
		// what each of three blocks has
		first, second, third string
	}{
		{":status 200", "\x88", "\x88", "\x88"},
		{":status 204", "\x89", "\x89", "\x89"},
		{":status 206", "\x8a", "\x8a", "\x8a"},
		{":status 304", "\x8b", "\x8b", "\x8b"},
		{":status 400", "\x8c", "\x8c", "\x8c"},
		{":status 404", "\x8d", "\x8d", "\x8d"},
		{":status 500", "\x8e", "\x8e", "\x8e"},
		{":status 503", "\x48\x03503", "\xbe", "\xbe"},
		{":method GET", "\x82", "\x82", "\x82"},
		{":method POST", "\x83", "\x83", "\x83"},
		{":method PUT", "\x42\x03PUT", "\xbe", "\xbe"},
		{":scheme http", "\x86", "\x86", "\x86"},
		{":scheme https", "\x87", "\x87", "\x87"},
		{":path /", "\x84", "\x84", "\x84"},
		{":path /index.html", "\x85", "\x85", "\x85"},
		{":path /a", "\x04\x02/a", "\x04\x02/a", "\x04\x02/a"},
		{":authority a.b", "\x41\x03a.b", "\xbe", "\xbe"},
		{":authority ", "\x41\x00", "\xbe", "\xbe"},
		{":protocol websocket", "\x40\x09:protocol\x09websocket", "\xbe", "\xbe"},
		{"accept-encoding gzip, deflate", "\x90", "\x90", "\x90"},
		{"content-type text/plain", "\x5f\x0atext/plain", "\xbe", "\xbe"},
		{"Server envoy", "\x76\x05envoy", "\xbe", "\xbe"},
		{"grpc-status 0", "\x40\x0bgrpc-status\x010", "\xbe", "\xbe"},
		{"X-Custom one", "\x00\x08x-custom\x03one", "\x40\x08x-custom\x03one", "\xbe"},
		{"accept-ranges bytes", "\x0f\x03\x05bytes", "\x52\x05bytes", "\xbe"},
		{"content-length 5", "\x0f\x0d\x015", "\x0f\x0d\x015", "\x0f\x0d\x015"},
		{"age 5", "\x0f\x06\x015", "\x0f\x06\x015", "\x0f\x06\x015"},
		{"x-request-id 5", "\x00\x0cx-request-id\x015", "\x00\x0cx-request-id\x015", "\x00\x0cx-request-id\x015"},
		{"Authorization a", "\x1f\x08\x01a", "\x1f\x08\x01a", "\x1f\x08\x01a"},
		{"proxy-authorization a", "\x1f\x22\x01a", "\x1f\x22\x01a", "\x1f\x22\x01a"},
		{"set-cookie a=b", "\x1f\x28\x03a=b", "\x1f\x28\x03a=b", "\x1f\x28\x03a=b"},
		{"cookie a=b", "\x1f\x11\x03a=b", "\x1f\x11\x03a=b", "\x1f\x11\x03a=b"},
		{"cookie " + cookie, "\x0f\x11\x1c" + cookie, "\x60\x1c" + cookie, "\xbe"},
		{"*X-Token a", "\x10\x07x-token\x01a", "\x10\x07x-token\x01a", "\x10\x07x-token\x01a"},
		{"*age 5", "\x1f\x06\x015", "\x1f\x06\x015", "\x1f\x06\x015"},
		{"server " + longest, "\x76\x7f\x81\x01" + longest, "\xbe", "\xbe"},
		{"server " + long, "\x0f\x27\x7f\x82\x01" + long, "\x0f\x27\x7f\x82\x01" + long, "\x0f\x27\x7f\x82\x01" + long},
		{"link " + long, "\x0f\x1e\x7f\x82\x01" + long, "\x0f\x1e\x7f\x82\x01" + long, "\x0f\x1e\x7f\x82\x01" + long},
	} {
		t.Run(test.field[:min(len(test.field), 40)], func(t *testing.T) {
			var e Encoder
			e.Init(4096)
			for i, want := range []string{test.first, test.second, test.third} {
				if got := string(encode(&e, lines(test.field))); got != want {
					t.Errorf("block %d: %q, want %q", i+1, got, want)
				}
			}
		})
	}
}

func TestEveryStaticNameIsFound(t *testing.T) {
	for i := 15; i <= staticCount; i++ {
		s := &statics[i]
		index := int(knownIndex[s.known])
		if s.known == message.Unknown {
			index = int(otherIndex(s.name()))
		}
		if index != i {
			t.Errorf("%s: entry %d, want %d", s.name(), index, i)
		}
	}
	for _, name := range []string{"", "a", "ag", "ages", "zz", "accept-rangers", ":path", "\xffabc"} {
		if i := otherIndex(name); i != 0 {
			t.Errorf("%q: entry %d", name, i)
		}
	}
}

func TestEncoderTellsThePeerItsTableSize(t *testing.T) {
	for _, test := range []struct {
		name  string
		bound int
		sizes []int // before the second block
		first string
		then  string
		max   int
	}{
		{"the default", 4096, nil, "", "", 4096},
		{"a smaller bound", 100, nil, "\x3f\x45", "", 100},
		{"no table", 0, nil, "\x20", "", 0},
		{"a negative bound", -1, nil, "\x20", "", 0},
		{"a larger bound waits for the peer", 8192, nil, "", "", 4096},
		{"the peer allows more", 8192, []int{65536}, "", "\x3f\xe1\x3f", 8192},
		{"more than we want", 4096, []int{65536}, "", "", 4096},
		{"the peer allows less", 4096, []int{100}, "", "\x3f\x45", 100},
		{"nothing", 4096, []int{0}, "", "\x20", 0},
		{"less, then still less", 4096, []int{200, 100}, "", "\x3f\x45", 100},
		{"less, then more", 4096, []int{100, 2000}, "", "\x20\x3f\xb1\x0f", 2000},
		{"nothing, then the same", 4096, []int{0, 4096}, "", "\x20\x3f\xe1\x1f", 4096},
		{"more, then the same", 8192, []int{8192, 4096}, "", "", 4096},
		{"more, then less", 8192, []int{8192, 100}, "", "\x3f\x45", 100},
		{"what we use already", 100, []int{2000}, "\x3f\x45", "", 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			var e Encoder
			e.Init(test.bound)
			if got := string(e.Begin(nil)); got != test.first {
				t.Errorf("first block: %q, want %q", got, test.first)
			}
			for _, n := range test.sizes {
				e.SetPeerSize(n)
			}
			if got := string(e.Begin(nil)); got != test.then {
				t.Errorf("then: %q, want %q", got, test.then)
			}
			if got := e.Begin(nil); len(got) != 0 {
				t.Errorf("again: %q", got)
			}
			if e.table.max != test.max {
				t.Errorf("the table has %d bytes, want %d", e.table.max, test.max)
			}
		})
	}
}

// What the peer has evicted must not be referred to.
func TestEncoderForgetsWhatASmallerTableEvicts(t *testing.T) {
	for _, sizes := range [][]int{{0}, {0, 4096}, {60}, {60, 4096}} {
		var e Encoder
		e.Init(4096)
		d := xhpack.NewDecoder(4096, nil)
		fs := []pair{{name: "server", value: "one"}, {name: "server", value: "two"}}
		for i := range 4 {
			if i == 2 {
				for _, n := range sizes {
					e.SetPeerSize(n)
				}
			}
			got, err := reference(d, encode(&e, fs))
			if err != nil || render(got) != render(fs) {
				t.Fatalf("%v, block %d: %v, %v", sizes, i+1, render(got), err)
			}
		}
	}
}

// Fields that never come twice must not push out the others.
func TestEncoderKeepsWhatRepeats(t *testing.T) {
	var e Encoder
	e.Init(4096)
	b := encode(&e, []pair{{name: "server", value: "weft"}})
	for i := range 1000 {
		for _, name := range []string{"x-custom-id", "cookie", "x-b3-traceid", "x-request-id"} {
			b = e.Field(b[:0], message.LookupKnown(name), name, fmt.Sprintf("some-unique-value-%d", i))
		}
	}
	if b = encode(&e, []pair{{name: "server", value: "weft"}}); string(b) != "\xbe" {
		t.Errorf("got %q", b)
	}
}

func TestEncoderMemory(t *testing.T) {
	var e Encoder
	e.Init(4096)
	encode(&e, lines(":status 200|content-length 5|date now"))
	if e.table.ring != nil || e.table.buf != nil || e.heads != nil || e.seen != nil {
		t.Error("an encoder that indexes nothing has memory")
	}
	r := newRand(4)
	for range 10000 {
		e.Field(nil, message.Server, "server", randomText(r, 300))
		checkRoom(t, &e.table)
		if len(e.heads) > 4*4096/32 {
			t.Fatalf("%d buckets", len(e.heads))
		}
	}
	checkTable(t, &e.table)
	e.SetPeerSize(0)
	e.Begin(nil)
	if e.table.ring != nil || e.heads != nil {
		t.Error("an encoder without a table has memory")
	}
}

// The numbers of entries wrap after 4 Gi of them.
func TestEncoderFindsEntriesWhenNumbersWrap(t *testing.T) {
	var e Encoder
	e.Init(4096)
	const start = 1<<32 - 500
	e.table.head, e.table.tail, e.table.base = start, start, start
	d := xhpack.NewDecoder(4096, nil)
	r := newRand(5)
	hits := 0
	for range 3000 {
		fs := []pair{{name: "server", value: fmt.Sprint(r.IntN(150))}}
		b := encode(&e, fs)
		if len(b) < 3 {
			hits++
		}
		got, err := reference(d, b)
		if err != nil || render(got) != render(fs) {
			t.Fatalf("at %d: %v, %v; want %v", e.table.tail, render(got), err, render(fs))
		}
	}
	if e.table.tail > start || hits < 500 {
		t.Errorf("the numbers are at %d after %d hits", e.table.tail, hits)
	}
}
