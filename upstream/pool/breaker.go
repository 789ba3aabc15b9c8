package pool

import (
	"math"
	"sync/atomic"

	"github.com/weftproxy/weft/observe/stats"
)

// A Breaker is a cluster's circuit breakers for one routing priority: what may be under way at the same time, over all hosts.
type Breaker struct {
	Requests    Limit // held from Acquire to the end of the stream
	Pending     Limit // held while Acquire waits for a connection
	Connections Limit
	Retries     Limit // held by whoever retries, from the back-off to the end of the attempt
}

// A Limit lets a number of things be under way. The zero Limit lets nothing through: see Init.
type Limit struct {
	max       int64 // immutable
	n         atomic.Int64
	budget    func() int64 // max instead of max, when not nil; immutable
	open      *stats.Gauge // 1 while nothing more gets through
	remaining *stats.Gauge // nil when not tracked
}

// Init prepares a limit. open is the *_open gauge, remaining the remaining_* gauge, nil where it is not tracked; budget computes the
// limit anew for each Try, nil for a fixed one.
func (l *Limit) Init(limit uint32, open, remaining *stats.Gauge, budget func() int64) {
	l.max, l.open, l.remaining, l.budget = int64(limit), open, remaining, budget
	switch {
	case budget != nil:
		l.max = -2 // which no count ever reaches: the gauge stays
	case limit == math.MaxUint32:
		l.max = math.MaxInt64
	}
	if remaining != nil {
		remaining.Set(int64(limit))
	}
	if limit == 0 && budget == nil {
		open.Set(1)
	}
}

// Try takes a place if there is one. Who got it calls Done.
func (l *Limit) Try() bool {
	limit := l.max
	if l.budget != nil {
		limit = l.budget()
	}
	if l.add() <= limit {
		return true
	}
	l.Done()
	return false
}

// Force takes a place whether there is one or not.
func (l *Limit) Force() { l.add() }

// Done gives a place back.
func (l *Limit) Done() {
	// Every step that reaches or leaves the limit moves the gauge, so that it is right once all steps have moved it.
	if l.n.Add(-1) == l.max-1 {
		l.open.Dec()
	}
	if l.remaining != nil {
		l.remaining.Inc()
	}
}

func (l *Limit) add() int64 {
	n := l.n.Add(1)
	if n == l.max {
		l.open.Inc()
	}
	if l.remaining != nil {
		l.remaining.Dec()
	}
	return n
}

// Active returns how many places are taken.
func (l *Limit) Active() int64 { return l.n.Load() }

// Max returns the limit.
func (l *Limit) Max() int64 {
	if l.budget != nil {
		return l.budget()
	}
	return l.max
}
