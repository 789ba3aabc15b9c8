package exchange

import (
	"strings"
	"time"
)

// row copies what is to be seen of an exchange. The shard is locked.
func (t *Tracked) row(now int64) Row {
	r := Row{
		Age: time.Duration(now - t.start), Stage: Stage(t.stage.Load()).String(),
		Method: strings.Clone(t.method), Host: strings.Clone(t.host), Path: strings.Clone(t.path),
		Listener: t.info.Listener, Remote: t.info.Remote.String(), Conn: t.info.ID,
		Try: int(t.tries.Load()),
	}
	if route := t.route.Load(); route != nil {
		r.Route, r.Place = route.Name, route.Origin+route.Place
	}
	if h := t.upstream.Load(); h != nil {
		r.Cluster, r.Upstream = h.ClusterName(), h.Address()
	}
	return r
}
