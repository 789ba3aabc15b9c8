package secret

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftproxy/weft/resource"
)

// A Shown is a secret that is in use, for the admin page.
type Shown struct {
	Kind       Kind
	Name       string        // "" of one that is inline
	Path       resource.Path // of its message
	KeyPair    *KeyPair      // of a certificate
	Validation *Validation   // of a validation context
}

// Shown returns the certificates and validation contexts that are in use, in the order of their places in the configuration. Those that a
// source delivers have none; they are in the order of their names.
func (s *Store) Shown() []Shown {
	var out []Shown
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, src := range s.list() {
		if shown := src.describe(); shown.KeyPair != nil || shown.Validation != nil {
			out = append(out, shown)
		}
	}
	slices.SortStableFunc(out, func(a, b Shown) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// FirstExpiry is when the first of the certificates in use expires, as Envoy counts: leaves, and the first authority of each validation
// context. any says whether there is one.
func (s *Store) FirstExpiry() (first time.Time, any bool) {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, src := range s.list() {
		var ends time.Time
		switch shown := src.describe(); {
		case shown.KeyPair != nil:
			ends = shown.KeyPair.Certificate.Leaf.NotAfter
		case shown.Validation != nil && len(shown.Validation.Roots) > 0:
			ends = shown.Validation.Roots[0].NotAfter
		default:
			continue
		}
		if !any || ends.Before(first) {
			first, any = ends, true
		}
	}
	return first, any
}

// list is the sources that are in use, or were until lately.
func (s *Store) list() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]item, 0, len(s.items))
	for _, find := range s.items {
		if src := find(); src != nil {
			out = append(out, src)
		}
	}
	return out
}

// describe is the source as Shown, with a value only if it is the one in force. Callers hold store.changing.
func (s *source[T]) describe() Shown {
	out := Shown{Kind: s.id.kind, Name: s.id.name, Path: s.at}
	if s.slot.from != s {
		return out
	}
	switch v := any(s.value).(type) {
	case *KeyPair:
		out.KeyPair = v
	case *Validation:
		out.Validation = v
	}
	return out
}
