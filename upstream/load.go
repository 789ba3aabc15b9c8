package upstream

import (
	"sync"

	"github.com/weftproxy/weft/upstream/pool"
)

// A Load is what a cluster has carried since it was last asked: an Envoy ClusterStats without its interval.
type Load struct {
	Cluster    string
	Service    string // by which the control plane knows the cluster; "": by its name
	Dropped    uint64 // refused by circuit breakers
	Category   string // of Shed
	Shed       uint64 // refused because the control plane wanted it (drop_overloads)
	Localities []LocalityLoad
}

// Idle reports whether there is nothing to tell.
func (l *Load) Idle() bool { return l.Dropped == 0 && l.Shed == 0 && len(l.Localities) == 0 }

// A LocalityLoad is what the hosts of a locality and priority have carried; those that carried nothing are left out.
type LocalityLoad struct {
	Region, Zone, SubZone string
	Priority              int
	Requests
	Hosts []HostLoad
}

// A HostLoad is what a host has carried.
type HostLoad struct {
	Host *Host
	Requests
}

// Requests are requests to hosts: those that began and ended since the last report, and those under way.
type Requests struct{ Issued, Succeeded, Failed, Active uint64 }

func (r *Requests) add(o Requests) {
	r.Issued += o.Issued
	r.Succeeded += o.Succeeded
	r.Failed += o.Failed
	r.Active += o.Active
}

// loadMarks are where the counters stood when a cluster's load was last taken.
type loadMarks struct {
	mu      sync.Mutex
	dropped uint64
	hosts   map[*Host]Requests // of those that ever had a request
}

// TakeLoad returns what the cluster has carried since it was last called, at first since the cluster was started. There is one who calls
// it. It costs nothing until then.
func (c *Cluster) TakeLoad() Load {
	l := Load{Cluster: c.Name, Service: c.Config.ServiceName, Shed: c.shed.Swap(0)}
	if d := c.dropping.Load(); d != nil {
		l.Category = d.category
	}
	dropped := uint64(0)
	c.traffic.Each(func(s *Stats) { dropped += s.RqPendingOverflow.Value() })
	m := &c.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Dropped, m.dropped = dropped-m.dropped, dropped
	next := map[*Host]Requests{}
	places := map[loadPlace]int{}
	for _, h := range c.Hosts().All() {
		now := read(&h.stats)
		if now == (Requests{}) {
			continue
		}
		before := m.hosts[h]
		next[h] = now
		since := Requests{now.Issued - before.Issued, now.Succeeded - before.Succeeded, now.Failed - before.Failed, now.Active}
		if since == (Requests{}) {
			continue
		}
		at := h.spec().locality
		key := loadPlace{at.at(), at.priority}
		i, known := places[key]
		if !known {
			i = len(l.Localities)
			places[key] = i
			l.Localities = append(l.Localities, LocalityLoad{Region: at.Region, Zone: at.Zone, SubZone: at.SubZone, Priority: at.priority})
		}
		l.Localities[i].add(since)
		l.Localities[i].Hosts = append(l.Localities[i].Hosts, HostLoad{h, since})
	}
	m.hosts = next
	return l
}

// A loadPlace is what is reported on its own.
type loadPlace struct {
	at       [3]string
	priority int
}

func read(s *pool.HostStats) Requests {
	return Requests{
		Succeeded: s.RqSuccess.Value(), Failed: s.RqError.Value(), Issued: s.RqTotal.Value(), Active: uint64(max(s.RqActive.Value(), 0)),
	}
}
