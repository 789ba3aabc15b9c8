package extension

import "sync/atomic"

// Runtime is Envoy's layered runtime: keys with overrides of configured values. Safe for concurrent use; values are replaced whole.
type Runtime struct {
	values atomic.Pointer[map[string]string]
}

// Set replaces all values.
func (r *Runtime) Set(values map[string]string) { r.values.Store(&values) }

// Lookup returns the value of a key. A nil Runtime has none.
func (r *Runtime) Lookup(key string) (string, bool) {
	if r == nil || key == "" {
		return "", false
	}
	m := r.values.Load()
	if m == nil {
		return "", false
	}
	v, ok := (*m)[key]
	return v, ok
}

// All returns the present values. The map must not be changed.
func (r *Runtime) All() map[string]string {
	if m := r.values.Load(); m != nil {
		return *m
	}
	return nil
}
