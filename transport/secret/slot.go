package secret

import "sync/atomic"

// A Slot is where the current value of one secret is. Safe for concurrent use.
type Slot[T any] struct {
	name  string // of the secret; "" where it is inline
	value atomic.Pointer[T]
	from  *source[T] // whose value is the current one; guarded by Store.changing
}

// Name returns the secret's name, "" of one that the configuration has inline.
func (s *Slot[T]) Name() string { return s.name }

// Load returns the current value, nil while there is none yet. Values are immutable; another value is another pointer.
func (s *Slot[T]) Load() *T { return s.value.Load() }
