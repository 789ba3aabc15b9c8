package forward

import (
	"maps"
	"sync/atomic"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe/stats"
)

// ClassStats are the statistics of a virtual cluster, below vhost.<name>.vcluster.<name>, and of a route with a stat_prefix, below
// vhost.<name>.route.<prefix>.
type ClassStats struct {
	RqTotal              stats.Counter   `stat:"upstream_rq_total"`
	RqCompleted          stats.Counter   `stat:"upstream_rq_completed"`
	RqTimeout            stats.Counter   `stat:"upstream_rq_timeout"`
	RqRetry              stats.Counter   `stat:"upstream_rq_retry"`
	RqRetrySuccess       stats.Counter   `stat:"upstream_rq_retry_success"`
	RqRetryOverflow      stats.Counter   `stat:"upstream_rq_retry_overflow"`
	RqRetryLimitExceeded stats.Counter   `stat:"upstream_rq_retry_limit_exceeded"`
	Codes                stats.Codes     `stat:"upstream_rq"`
	RqTime               stats.Histogram `stat:"upstream_rq_time" unit:"ms"`
}

// A class names a class of requests of a virtual host.
type class struct{ host, kind, name string }

// classes are the statistics of the classes that were seen. The map is replaced as a whole; how large it can grow is up to the
// configuration. Safe for concurrent use.
type classes struct {
	store *stats.Store
	seen  atomic.Pointer[map[class]*stats.Group[ClassStats]]
}

// of returns the lane's statistics of a class.
func (c *classes) of(k class, lane uint32) *ClassStats {
	for {
		seen := c.seen.Load()
		if seen != nil {
			if g := (*seen)[k]; g != nil {
				return g.Lane(lane)
			}
		}
		grown := map[class]*stats.Group[ClassStats]{}
		if seen != nil {
			maps.Copy(grown, *seen)
		}
		grown[k] = stats.NewGroup[ClassStats](c.scope(k))
		c.seen.CompareAndSwap(seen, &grown)
	}
}

func (c *classes) scope(k class) *stats.Scope {
	tags := []stats.Tag{{Name: "envoy.virtual_host", Value: k.host}}
	switch k.kind {
	case "vcluster":
		tags = append(tags, stats.Tag{Name: "envoy.virtual_cluster", Value: k.name})
	case "route":
		tags = append(tags, stats.Tag{Name: "envoy.route", Value: k.name})
	}
	return c.store.Scope("vhost."+k.host+"."+k.kind+"."+k.name+".", tags...)
}

// findClasses finds the statistics of the classes that the exchange belongs to; a nil one is of none.
func (f *flight) findClasses() {
	x, route := f.x, f.x.Route
	f.classes = [2]*ClassStats{}
	if name := route.Clusters.Find(x.Request); name != "" {
		x.Record.VirtualCluster = name
		f.classes[0] = f.r.classes.of(class{route.VirtualHost, "vcluster", name}, x.Lane)
	}
	if route.StatPrefix != "" {
		f.classes[1] = f.r.classes.of(class{route.VirtualHost, "route", route.StatPrefix}, x.Lane)
	}
}

// each calls count for each class of the exchange.
func (f *flight) each(count func(*ClassStats)) {
	for _, c := range f.classes {
		if c != nil {
			count(c)
		}
	}
}

// classTotal and its like are what each is called with; functions without captured variables cost nothing.
func classTotal(c *ClassStats)         { c.RqTotal.Inc() }
func classTimeout(c *ClassStats)       { c.RqTimeout.Inc() }
func classRetry(c *ClassStats)         { c.RqRetry.Inc() }
func classRetrySuccess(c *ClassStats)  { c.RqRetrySuccess.Inc() }
func classRetryOverflow(c *ClassStats) { c.RqRetryOverflow.Inc() }
func classRetryLimit(c *ClassStats)    { c.RqRetryLimitExceeded.Inc() }

var _ exchange.Filter = (*Router)(nil)
