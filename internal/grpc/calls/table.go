package calls

import (
	"maps"
	"strings"
	"sync/atomic"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/upstream"
)

// Bounds on what requests can make: methods with series of their own in one cluster, and the length of a name in bytes. What is beyond
// them is counted without service and method.
const (
	MaxMethods = 1024
	maxName    = 256
)

// A Method names a method of a service.
type Method struct{ Service, Name string }

// Options say which methods have statistics of their own.
type Options struct {
	Protocol    string          // "grpc", "grpc-web": a part of every name
	All         bool            // every method that is called, up to MaxMethods in a cluster
	Allowed     map[Method]bool // these, when not All
	ReplaceDots bool            // dots in the names of services become underscores, when All
}

// A Table finds the statistics of calls. Safe for concurrent use.
type Table struct {
	o        Options
	clusters atomic.Pointer[map[string]*cluster] // replaced as a whole
}

// A cluster is where the calls to one cluster are counted.
type cluster struct {
	scope   *stats.Scope // the cluster's, which closes all below it
	shared  *stats.Group[Stats]
	methods atomic.Pointer[map[Method]*stats.Group[Stats]] // replaced as a whole
}

// NewTable returns a table. It makes no series yet.
func NewTable(o Options) *Table { return &Table{o: o} }

// Find returns the lane's statistics of the call that a request is, nil when the path names no method or the route no cluster. It is for
// use before the request is handed on: what the router does to path and cluster afterwards makes no difference.
func (t *Table) Find(x *exchange.Exchange) *Stats {
	service, name, ok := grpc.ServiceMethod(x.Request.Path)
	if !ok || x.Route == nil || x.Route.Target == nil {
		return nil
	}
	to, _ := x.Route.Target.Choose(x.Request, x.Random)
	found := x.Clusters.Find(to)
	if found == nil {
		return nil
	}
	c := t.cluster(found, x.Clusters)
	m := Method{service, name}
	if !t.o.All && !t.o.Allowed[m] || len(service) > maxName || len(name) > maxName {
		return c.shared.Lane(x.Lane)
	}
	return t.method(c, m).Lane(x.Lane)
}

// cluster returns where the calls to a cluster are counted. Clusters that are gone are forgotten when a new one is seen.
func (t *Table) cluster(found *upstream.Cluster, all *upstream.Table) *cluster {
	for {
		seen := t.clusters.Load()
		if seen != nil {
			if c := (*seen)[found.Name]; c != nil && c.scope == found.Scope() {
				return c
			}
		}
		next := map[string]*cluster{}
		if seen != nil {
			for name, c := range *seen {
				if still := all.Find(name); still != nil && still.Scope() == c.scope {
					next[name] = c
				}
			}
		}
		c := &cluster{scope: found.Scope()}
		c.shared = stats.NewGroup[Stats](c.scope.Scope(t.o.Protocol + "."))
		next[strings.Clone(found.Name)] = c
		t.clusters.CompareAndSwap(seen, &next)
	}
}

func (t *Table) method(c *cluster, m Method) *stats.Group[Stats] {
	for {
		seen := c.methods.Load()
		if seen != nil {
			if g := (*seen)[m]; g != nil {
				return g
			}
			if len(*seen) >= MaxMethods {
				return c.shared
			}
		}
		next := map[Method]*stats.Group[Stats]{}
		if seen != nil {
			maps.Copy(next, *seen)
		}
		own := Method{strings.Clone(m.Service), strings.Clone(m.Name)}
		next[own] = stats.NewGroup[Stats](t.scope(c, own))
		c.methods.CompareAndSwap(seen, &next)
	}
}

func (t *Table) scope(c *cluster, m Method) *stats.Scope {
	if t.o.All && t.o.ReplaceDots {
		m.Service = strings.ReplaceAll(m.Service, ".", "_")
	}
	var tags []stats.Tag
	if t.o.Protocol == "grpc" { // Envoy extracts them from this prefix only
		tags = []stats.Tag{{Name: "envoy.grpc_bridge_service", Value: m.Service}, {Name: "envoy.grpc_bridge_method", Value: m.Name}}
	}
	return c.scope.Scope(t.o.Protocol+"."+m.Service+"."+m.Name+".", tags...)
}
