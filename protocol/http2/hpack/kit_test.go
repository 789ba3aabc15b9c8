package hpack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftproxy/weft/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// A pair is a field as tests compare it.
type pair struct {
	name, value string
	sensitive   bool
}

func (p pair) String() string {
	if p.sensitive {
		return fmt.Sprintf("%q: %q (sensitive)", p.name, p.value)
	}
	return fmt.Sprintf("%q: %q", p.name, p.value)
}

func render(ps []pair) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// decode reads a whole block into a new header and checks what must hold of every field.
func decode(d *Decoder, block []byte) ([]pair, error) {
	var (
		h  message.Header
		fs []Field
	)
	d.Begin(block)
	for {
		f, ok, err := d.Next(&h)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		fs = append(fs, f)
		if err := check(&h, f, d.Size()); err != nil {
			return nil, err
		}
	}
	// Only now, so that a field that a later one overwrote shows.
	ps := make([]pair, 0, len(fs))
	for _, f := range fs {
		ps = append(ps, pair{nameOf(&h, f), h.Borrow(f.Value, f.ValueLen), f.Sensitive})
	}
	return ps, nil
}

// nameOf returns a field's name, which a pseudo-header field has only in Pseudo.
func nameOf(h *message.Header, f Field) string {
	if f.NameLen == 0 {
		return f.Pseudo.String()
	}
	return h.Borrow(f.Name, f.NameLen)
}

func check(h *message.Header, f Field, size int) error {
	name := nameOf(h, f)
	switch {
	case f.Known != message.LookupKnown(name):
		return fmt.Errorf("%q: Known = %v", name, f.Known)
	case f.Lower == strings.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return fmt.Errorf("%q: Lower = %v", name, f.Lower)
	case strings.HasPrefix(name, ":") != (f.Pseudo != NotPseudo):
		return fmt.Errorf("%q: Pseudo = %d", name, f.Pseudo)
	case f.Pseudo != NotPseudo && f.Pseudo != pseudoOf(name):
		return fmt.Errorf("%q: Pseudo = %d", name, f.Pseudo)
	case size != len(name)+f.ValueLen+32:
		return fmt.Errorf("%q: Size = %d", name, size)
	}
	return nil
}

// reference decodes a block with x/net.
func reference(d *xhpack.Decoder, block []byte) ([]pair, error) {
	fs, err := d.DecodeFull(block)
	if err != nil {
		return nil, err
	}
	ps := make([]pair, 0, len(fs))
	for _, f := range fs {
		ps = append(ps, pair{f.Name, f.Value, f.Sensitive})
	}
	return ps, nil
}

// entries returns a table's fields, the newest first.
func entries(t *table) []pair {
	ps := []pair{}
	for i := uint32(1); i <= t.count(); i++ {
		e := t.at(t.tail - i)
		text := string(t.text(e))
		ps = append(ps, pair{name: text[:e.nameLen], value: text[e.nameLen:]})
	}
	return ps
}

// checkTable verifies what holds between a table's fields.
func checkTable(t *testing.T, tab *table) {
	t.Helper()
	size := 0
	for _, p := range entries(tab) {
		size += len(p.name) + len(p.value) + 32
	}
	if size != tab.size || size > tab.max {
		t.Fatalf("size = %d, its entries have %d, its limit is %d", tab.size, size, tab.max)
	}
}
