package upstream

import (
	"sync"
	"sync/atomic"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/upstream/pool"
)

// mostApart is how many pools of its own kind a host may have. They come with what clients ask for.
const mostApart = 512

// apart is a host's pools of connections that not all requests can share, by what those that share one have in common. The zero value is
// empty. Safe for concurrent use.
type apart struct {
	mu    sync.RWMutex
	pools map[poolKey]*apartPool // guarded by mu
	tidy  int                    // how many there may be before empty ones are looked for; guarded by mu
}

// An apartPool is one of those pools.
type apartPool struct {
	pool *pool.Pool
	used atomic.Int64 // scope.Now when it was last asked for
}

// find returns the pool of a key, made by build where there is none; nil where there are too many, all of them in use.
func (a *apart) find(k poolKey, build func(poolKey) *pool.Pool) *pool.Pool {
	now := scope.Now()
	a.mu.RLock()
	one := a.pools[k]
	a.mu.RUnlock()
	if one == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if one = a.pools[k]; one == nil {
			if !a.makeRoom() {
				return nil
			}
			k = k.clone()
			one = &apartPool{pool: build(k)}
			if a.pools == nil {
				a.pools = map[poolKey]*apartPool{}
			}
			a.pools[k] = one
		}
	}
	one.used.Store(now)
	return one.pool
}

// makeRoom takes out pools that are empty, now and then, and where there are too many the one that has been unused the longest. It
// reports whether there is room for another one. mu is held.
func (a *apart) makeRoom() bool {
	if len(a.pools) < max(a.tidy, 8) {
		return true
	}
	for k, one := range a.pools {
		if one.pool.Tidy(false) {
			delete(a.pools, k)
		}
	}
	a.tidy = min(2*len(a.pools), mostApart)
	if len(a.pools) < mostApart {
		return true
	}
	return a.evict()
}

// evict closes the idle connections of the pool that was asked for the longest ago. mu is held.
func (a *apart) evict() bool {
	for range 2 { // one that is found idle may be taken before it is closed
		var oldest poolKey
		at, found := int64(0), false
		for k, one := range a.pools {
			if used := one.used.Load(); (!found || used < at) && one.pool.Unused() {
				oldest, at, found = k, used, true
			}
		}
		if !found {
			return false
		}
		if a.pools[oldest].pool.Tidy(true) {
			delete(a.pools, oldest)
			return true
		}
	}
	return false
}

// each calls do for all of them.
func (a *apart) each(do func(*pool.Pool)) {
	a.mu.RLock()
	all := make([]*pool.Pool, 0, len(a.pools))
	for _, one := range a.pools {
		all = append(all, one.pool)
	}
	a.mu.RUnlock()
	for _, p := range all {
		do(p)
	}
}
