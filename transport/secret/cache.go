package secret

import (
	"runtime"
	"sync"
	"weak"
)

// A cache finds what was made of the same content before, for as long as somebody uses it. The zero value is ready.
type cache[T any] struct {
	mu  sync.Mutex
	all map[sum]weak.Pointer[T] // guarded by mu
}

// get is what was made of the content, or nil.
func (c *cache[T]) get(key sum) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[key].Value()
}

// put keeps v, or the one that another goroutine was faster with, and returns it.
func (c *cache[T]) put(key sum, v *T) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.all[key].Value(); have != nil {
		return have
	}
	if c.all == nil {
		c.all = map[sum]weak.Pointer[T]{}
	}
	c.all[key] = weak.Make(v)
	runtime.AddCleanup(v, c.drop, key)
	return v
}

// drop forgets a value that is gone.
func (c *cache[T]) drop(key sum) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[key].Value() == nil {
		delete(c.all, key)
	}
}
