package exchange

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weftproxy/weft/observe"
)

// Failures keeps what is known of the last failed exchanges, for /failures. Safe for concurrent use.
type Failures struct {
	mu   sync.Mutex
	ring []Failure
	next int
	full bool
}

// A Failure is one failed exchange: what decided, where, why.
type Failure struct {
	At                       time.Time
	Listener, Method, Host   string
	Path                     string
	Status                   int
	Flags                    observe.Flag
	Stage, Side, Details     string
	Cause                    string
	Route, Cluster, Upstream string
	Place                    string // of the route in the configuration
	Remote                   netip.AddrPort
	RequestID                string
	Attempts                 int
	Duration                 time.Duration
}

// NewFailures keeps the last n.
func NewFailures(n int) *Failures { return &Failures{ring: make([]Failure, n)} }

// Add notes a failure, forgetting the oldest when there are too many. Its strings must be owned, not borrowed.
func (f *Failures) Add(x Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring[f.next] = x
	f.next++
	if f.next == len(f.ring) {
		f.next, f.full = 0, true
	}
}

// List returns the failures kept, the newest first.
func (f *Failures) List() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.next
	if f.full {
		n = len(f.ring)
	}
	out := make([]Failure, 0, n)
	for i := range n {
		out = append(out, f.ring[(f.next-1-i+len(f.ring))%len(f.ring)])
	}
	return out
}
