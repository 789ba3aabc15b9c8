package secret

import (
	"github.com/weftproxy/weft/resource"
)

// A plan says what a secret is made of, and how.
type plan[T any] struct {
	parts []part
	dirs  []string // of watched_directory: any change in one of them is a reason to read again
	salt  []byte   // what the value depends on besides the parts
	build func(*inputs) (*T, error)
}

// A source is a configured secret: where the values of a slot come from. There may be several for the slot of a static secret, of which
// one is in force.
type source[T any] struct {
	store *Store
	id    id            // without a name where it is inline
	at    resource.Path // of the message
	slot  *Slot[T]
	plan  func() plan[T] // as it is now: it depends on another secret where two are combined. It changes only with adopt

	// What follows is guarded by store.changing, once the source is known to the store.
	value     *T        // the last good one
	sum       sum       // of what value was made of
	signed    signature // of the files, before they were read
	complaint string    // the last that was logged; "" when all is well
	number    uint64    // that the store knows it by, of one that a source delivers
}

// load reads the source for the first time and reports what is wrong. Without errors it has a value.
func (s *source[T]) load(p *resource.Problems) bool {
	pl := s.plan()
	in, signed, err := s.store.readAll(pl.parts, pl.salt)
	if err == nil {
		s.value, err = pl.build(in)
	}
	if err != nil {
		f := asFault(err)
		p.Errorf(path(s.at, f.field), f.hint, "%s", f.text)
		return false
	}
	for _, n := range in.notes {
		p.Warnf(path(s.at, n.field), n.hint, "%s", n.text)
	}
	s.sum, s.signed = in.sum, signed
	return true
}

// put makes the source the one in force. Callers hold store.changing, or nobody else has the slot yet.
func (s *source[T]) put() {
	s.slot.from = s
	if s.slot.value.Load() != s.value {
		s.slot.value.Store(s.value)
	}
}

// refresh reads the source again and, where that gives another value, uses it. It says whether the source is well: a value that cannot be
// used leaves the one before.
func (s *source[T]) refresh() bool {
	s.store.changing.Lock()
	defer s.store.changing.Unlock()
	return s.refreshLocked()
}

func (s *source[T]) refreshLocked() bool {
	pl := s.plan()
	in, signed, err := s.store.readAll(pl.parts, pl.salt)
	s.signed = signed
	if err == nil && in.sum == s.sum {
		if s.complaint != "" {
			s.complaint = ""
			s.store.well(s.id, s.at)
		}
		return true
	}
	var value *T
	if err == nil {
		value, err = pl.build(in)
	}
	if err != nil {
		if text := err.Error(); text != s.complaint {
			s.complaint = text
			s.store.failed(s.id, s.at, err)
		}
		return false
	}
	s.value, s.sum, s.complaint = value, in.sum, ""
	if s.slot.from == s {
		s.slot.value.Store(value)
	}
	s.store.reloaded(s.id, s.at, in.notes)
	return true
}

// stale says whether the files look different from those that were read.
func (s *source[T]) stale() bool {
	s.store.changing.Lock()
	defer s.store.changing.Unlock()
	return s.signed != sign(filesOf(s.plan().parts))
}

// files is what to watch: files, and directories all of which counts.
func (s *source[T]) files() (files, dirs []string) {
	s.store.changing.Lock() // the plan may depend on a slot
	defer s.store.changing.Unlock()
	pl := s.plan()
	return filesOf(pl.parts), pl.dirs
}
