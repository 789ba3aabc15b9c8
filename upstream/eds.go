package upstream

import (
	"reflect"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// An assignment is a compiled ClusterLoadAssignment. Immutable.
type assignment struct {
	endpoints  []*endpoint
	localities []*locality
	overprov   int           // overprovisioning_factor in percent
	drop       *drop         // nil: nothing is dropped
	stale      time.Duration // endpoint_stale_after; 0: it is good for ever
}

// eds is what an EDS cluster has beyond others.
type eds struct {
	cluster *Cluster
	watch   *subscription.Watch
	group   *stats.Group[edsStats]
	counts  subscription.Stats

	// guarded by cluster.mu
	timer  *time.Timer // nil: the assignment is good for ever
	turn   uint64      // counts timers: one that is late finds another turn
	last   *assignment // what the timer is for; nil where there is none
	lapsed bool        // last is out of force
}

// eds compiles eds_cluster_config, all but the source.
func (x *compiler) eds(env CompileEnv) {
	o, at := x.m.GetEdsClusterConfig(), x.at.Field("eds_cluster_config")
	switch {
	case x.c.Type != EDS:
		if o != nil {
			x.p.Errorf(at, "type: EDS", "eds_cluster_config set in a non-EDS cluster")
		}
		return
	case o.GetEdsConfig() == nil:
		x.p.Errorf(at.Field("eds_config"), "eds_config: {ads: {}}", "cannot create an EDS cluster without an EDS config")
	case env.Hub == nil:
		x.p.Unsupported(at.Field("eds_config"), "there is no source of endpoints; give them in load_assignment")
	}
	x.c.ServiceName = o.GetServiceName()
}

// compileEDS makes the watch on an EDS cluster's assignment.
func (c *Cluster) compileEDS(x *compiler, env CompileEnv) {
	if c.Config.Type != EDS {
		return
	}
	name := c.Config.ServiceName
	if name == "" {
		name = c.Name
	}
	e := &eds{cluster: c, group: stats.NewGroup[edsStats](c.scope)}
	m, own := c.members.Lane(0), e.group.Lane(0)
	e.counts = subscription.Stats{
		Attempt: &m.UpdateAttempt, Success: &m.UpdateSuccess, Failure: &m.UpdateFailure, Rejected: &own.UpdateRejected,
		TimedOut: &own.InitFetchTimeout, Time: &own.UpdateTime, Version: &m.Version,
		VersionText: c.scope.Text("version_text"), Duration: &own.UpdateDuration,
	}
	c.eds = e
	at := x.at.Field("eds_cluster_config").Field("eds_config")
	e.watch = env.Hub.Watch(x.m.GetEdsClusterConfig().GetEdsConfig(), resource.Key{Type: resource.Endpoint, Name: name}, at, x.p,
		subscription.User{Prepare: e.prepare, Again: e.again, Stats: &e.counts})
}

// prepare compiles a version of the assignment. It returns what puts it in force.
func (e *eds) prepare(r *resource.Resource, p *resource.Problems) func() {
	m, ok := r.Message.(*endpointv3.ClusterLoadAssignment)
	if !ok {
		p.Errorf("", "", "not a ClusterLoadAssignment: %T", r.Message)
		return nil
	}
	a := compileAssignment(EDS, m, "", p)
	if p.HasErrors() {
		return nil
	}
	for _, ep := range a.endpoints {
		ep.via = e.cluster.sockets.choose(ep.metadata, ep.locality.metadata)
	}
	return func() { e.assign(a) }
}

// assign puts an assignment in force.
func (e *eds) assign(a *assignment) {
	c := e.cluster
	c.mu.Lock()
	changed := c.overprov != a.overprov
	c.overprov = a.overprov
	changed = c.adopt(a) || changed
	e.arm(a)
	c.dropping.Store(a.drop)
	c.mu.Unlock()
	if !changed {
		c.members.Lane(0).UpdateNoRebuild.Inc()
		return
	}
	c.rebuild()
}

// again is called when the source has sent what is in force already.
func (e *eds) again() {
	c := e.cluster
	c.mu.Lock()
	a, lapsed := e.last, e.lapsed
	if a != nil && !lapsed {
		e.arm(a)
	}
	c.mu.Unlock()
	if lapsed {
		e.assign(a)
		return
	}
	c.members.Lane(0).UpdateNoRebuild.Inc()
}

// arm sets the timer that takes the assignment out of force. mu is held.
func (e *eds) arm(a *assignment) {
	e.stop()
	e.last, e.lapsed = nil, false
	if a.stale <= 0 {
		return
	}
	e.cluster.members.Lane(0).AssignmentTimeoutReceived.Inc()
	e.last = a
	turn := e.turn
	e.timer = time.AfterFunc(a.stale, func() { e.expire(turn) })
}

// stop ends the timer. mu is held.
func (e *eds) stop() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	e.turn++
}

// expire takes an assignment out of force: it has not been renewed for endpoint_stale_after. The cluster has no hosts then.
func (e *eds) expire(turn uint64) {
	c := e.cluster
	c.mu.Lock()
	if turn != e.turn {
		c.mu.Unlock()
		return
	}
	e.timer, e.lapsed = nil, true
	c.members.Lane(0).AssignmentStale.Inc()
	c.dropping.Store(nil)
	c.overprov = defaultOverprov
	c.adopt(&assignment{})
	c.mu.Unlock()
	c.rebuild()
}

// adopt makes the cluster's hosts those of an assignment. A host that stays where it is keeps its connections, counters and health. It
// reports whether anything has changed. mu is held.
func (c *Cluster) adopt(a *assignment) bool {
	before := c.found[0]
	if sameHosts(before, a.endpoints) {
		return false
	}
	known := make(map[string]*Host, len(before))
	for _, h := range before {
		known[h.Address()] = h
	}
	next, fresh := make([]*Host, 0, len(a.endpoints)), []*Host(nil)
	for _, e := range a.endpoints {
		h := known[e.address]
		delete(known, e.address)
		if h == nil || !h.become(e) {
			if h != nil {
				known[e.address] = h // it goes, whatever its health
				h.set(0, PendingDynamicRemoval)
			}
			h = c.newHost(e, e.addr)
			fresh = append(fresh, h)
		}
		next = append(next, h)
	}
	replaced := map[string]bool(nil)
	for _, h := range fresh {
		if known[h.Address()] != nil {
			if replaced == nil {
				replaced = map[string]bool{}
			}
			replaced[h.Address()] = true
		}
	}
	var gone []*Host
	for _, h := range before {
		switch at := h.Address(); {
		case known[at] != h:
		case !replaced[at] && c.stays(h):
			h.set(PendingDynamicRemoval, 0)
			h.settle(a.localities)
			next = append(next, h)
		default:
			gone = append(gone, h)
		}
	}
	if len(fresh) > 0 || len(gone) > 0 {
		c.members.Lane(0).MembershipChange.Inc()
	}
	c.found[0] = next
	c.countSockets(fresh)
	c.watch(fresh)
	c.drop(gone)
	return true
}

// become makes a host what an endpoint of the same address says, or reports false: its connections or its health checks are not those of
// that endpoint.
func (h *Host) become(e *endpoint) bool {
	old := h.spec()
	if old.network != e.network || old.hostname != e.hostname || old.check != e.check || old.via != e.via {
		return false
	}
	h.from.Store(e)
	h.set(e.status, edsHealth&^e.status|PendingDynamicRemoval)
	return true
}

// settle moves a host that is no longer named to the locality of now that is its own, if there is one.
func (h *Host) settle(now []*locality) {
	e := *h.spec()
	for _, l := range now {
		if l.at() == e.locality.at() && l.priority == e.locality.priority {
			e.locality = l
			h.from.Store(&e)
			return
		}
	}
}

// sameHosts reports whether hosts are what endpoints say, in that order, so that nothing has to change.
func sameHosts(hosts []*Host, endpoints []*endpoint) bool {
	if len(hosts) != len(endpoints) {
		return false
	}
	for i, h := range hosts {
		if h.Health()&PendingDynamicRemoval != 0 || !h.spec().equal(endpoints[i]) {
			return false
		}
	}
	return true
}

// equal reports whether two endpoints say the same.
func (e *endpoint) equal(o *endpoint) bool {
	return e.network == o.network && e.address == o.address && e.hostname == o.hostname && e.check == o.check && e.weight == o.weight &&
		e.status == o.status && e.via == o.via && sameFacts(e.metadata, o.metadata) && e.locality.equal(o.locality)
}

func (l *locality) equal(o *locality) bool {
	return l.at() == o.at() && l.weight == o.weight && l.priority == o.priority && sameFacts(l.metadata, o.metadata)
}

func sameFacts(a, b map[string]map[string]any) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}
