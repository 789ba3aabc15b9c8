// Package snapshot turns resources into a Snapshot: the whole configuration, compiled, with everything reused that did not change.
package snapshot

import (
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/upstream"
)

// A Snapshot is the whole configuration, compiled; never modified.
type Snapshot struct {
	Version   uint64
	Set       *resource.Set
	Listeners map[string]*listener.Config
	Clusters  *upstream.Table
	Warnings  []resource.Problem // found in what was compiled anew, and no reason to reject it

	view      *secret.View // of the static secrets
	secrets   map[string]part[*secret.Static]
	clusters  map[string]part[*upstream.Cluster]
	listeners map[string]part[*listener.Config]
}

// A part is a compiled resource with the hash of what it was compiled from.
type part[T any] struct {
	hash  uint64
	value T
	names []secret.Ref // the secrets that it names; listeners know theirs
}

// PublishSecrets gives all who name a static secret its content in this snapshot. It comes before the new clusters start, which may need
// it; to take it back is to publish the secrets of the snapshot before.
func (s *Snapshot) PublishSecrets() {
	for _, p := range s.secrets {
		p.value.Publish()
	}
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
