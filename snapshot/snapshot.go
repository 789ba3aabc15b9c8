// Package snapshot turns resources into a Snapshot: the whole configuration, compiled, with everything reused that did not change.
package snapshot

import (
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// A Snapshot is the whole configuration, compiled; never modified.
type Snapshot struct {
	Version   uint64
	Set       *resource.Set
	Listeners map[string]*listener.Config
	Clusters  *upstream.Table

	clusters  map[string]part[*upstream.Cluster]
	listeners map[string]part[*listener.Config]
}

// A part is a compiled resource with the hash of what it was compiled from.
type part[T any] struct {
	hash  uint64
	value T
}

// Publish puts the snapshot's routes, filters and clusters into effect for the handlers of its listeners. New clusters should be warm,
// and removed ones still running: exchanges under way use them to their end.
func (s *Snapshot) Publish() {
	for _, l := range s.Listeners {
		for _, b := range l.Built() {
			if b.Publish != nil {
				b.Publish(s.Clusters)
			}
		}
	}
}
