package extension

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
)

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

// Bool is the value of a RuntimeFeatureFlag: true or false in any case, or a number that is not 0; otherwise the default.
func (r *Runtime) Bool(key string, otherwise bool) bool {
	text, ok := r.Lookup(key)
	if !ok {
		return otherwise
	}
	text = strings.TrimSpace(text)
	switch {
	case strings.EqualFold(text, "true"):
		return true
	case strings.EqualFold(text, "false"):
		return false
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n != 0
	}
	return otherwise
}

// Uint is the value of a RuntimeUInt32 or of a whole number that a key of Envoy's sets; otherwise the default. A number with a fraction is cut.
func (r *Runtime) Uint(key string, otherwise uint64) uint64 {
	text, ok := r.Lookup(key)
	if !ok {
		return otherwise
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && f >= 0 && f < 1<<63 {
		return uint64(f)
	}
	return otherwise
}

// Float is the value of a RuntimeDouble or a RuntimePercent; otherwise the default.
func (r *Runtime) Float(key string, otherwise float64) float64 {
	text, ok := r.Lookup(key)
	if !ok {
		return otherwise
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return f
	}
	return otherwise
}

// All returns the present values. The map must not be changed.
func (r *Runtime) All() map[string]string {
	if m := r.values.Load(); m != nil {
		return *m
	}
	return nil
}
