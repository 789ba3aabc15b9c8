package stats

import "sync/atomic"

// A Text is a text readout: a series whose value is a string, such as a version. The zero value is ready to use.
type Text struct {
	s atomic.Pointer[string]
}

// Set replaces the value.
func (t *Text) Set(s string) { t.s.Store(&s) }

// Value is the string last set, "" before the first Set.
func (t *Text) Value() string {
	if s := t.s.Load(); s != nil {
		return *s
	}
	return ""
}

// used reports whether a text was ever set.
func (t *Text) used() bool { return t.s.Load() != nil }
