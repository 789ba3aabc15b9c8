package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/weftproxy/weft/upstream/discovery"
	"github.com/weftproxy/weft/upstream/pool"
)

// linger is how long Drain waits for those who have found the cluster and not used it yet.
const linger = 2 * time.Second

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Start sets off discovery and health checks, which run until Drain, Close or the end of ctx, and makes wanted what others deliver:
// endpoints and secrets, until Drain or Close. A cluster is started once.
func (c *Cluster) Start(ctx context.Context) {
	lane := c.members.Lane(0)
	c.account(c.Hosts())
	lane.MembershipChange.Add(uint64(c.Hosts().Len()))
	lane.WarmingState.Set(0)
	c.countSockets(c.Hosts().All())
	if tracks(c.Config) {
		c.Breaker(0) // so that the remaining_ gauges show the limits
	}
	if c.Config.Type == Static {
		lane.UpdateSuccess.Inc()
	}
	c.mu.Lock()
	if c.closed || c.draining.Load() {
		c.mu.Unlock()
		return
	}
	if c.Config.Health != nil || c.Config.Type.resolves() {
		c.run, c.cancel = context.WithCancel(ctx)
	}
	if c.Config.Health != nil {
		c.checker = c.newChecker()
	}
	c.unready += c.resources()
	for _, hosts := range c.found {
		c.watch(hosts)
	}
	if c.Config.Type.resolves() {
		c.discover(c.run)
	}
	then := c.maybeReady()
	c.mu.Unlock()
	for _, f := range then {
		f()
	}
	c.hold()
}

func tracks(c *Config) bool { return c.Breakers[0].TrackRemaining || c.Breakers[1].TrackRemaining }

// discover starts a goroutine for each name, which ends with run. mu is held.
func (c *Cluster) discover(run context.Context) {
	for i, e := range c.Config.assigned.endpoints {
		if e.name == "" {
			continue
		}
		c.unready++
		first := true
		d := &c.Config.DNS
		r := &discovery.Refresher{
			Resolver: c.resolver(), Name: e.name, Family: d.Family, Every: d.Every, Jitter: d.Jitter, RespectTTL: d.RespectTTL,
			FailureBase: d.FailureBase, FailureMax: d.FailureMax,
		}
		c.running.Go(func() {
			r.Run(run, func(answers []discovery.Answer, err error) {
				c.resolved(i, answers, err)
				if first {
					first = false
					c.settled()
				}
			})
		})
	}
}

// resolved takes over the addresses of an endpoint's name.
func (c *Cluster) resolved(i int, answers []discovery.Answer, err error) {
	lane := c.members.Lane(0)
	lane.UpdateAttempt.Inc()
	if err != nil {
		lane.UpdateFailure.Inc()
		c.noteNames(i, err)
		return
	}
	lane.UpdateSuccess.Inc()
	if len(answers) == 0 {
		lane.UpdateEmpty.Inc()
		c.noteNames(i, errNoAddress)
	} else {
		c.noteNames(i, nil)
	}
	changed := false
	if c.Config.Type == LogicalDNS {
		changed = c.move(i, answers)
	} else {
		changed = c.replace(i, answers)
	}
	if !changed {
		lane.UpdateNoRebuild.Inc()
		return
	}
	c.rebuild()
}

// errNoAddress is what is logged of a name that exists without an address, or does not exist.
var errNoAddress = errors.New("the name has no address")

// noteNames logs that a name cannot be resolved: loudly the first time, then quietly until it can be.
func (c *Cluster) noteNames(i int, err error) {
	if err == nil && !c.unresolved[i] {
		return
	}
	log := c.env.Log.With("cluster", c.Name, "name", c.Config.assigned.endpoints[i].name)
	switch {
	case err == nil:
		log.Info("resolved again")
	case err != nil && !c.unresolved[i]:
		log.Warn("cannot resolve", "error", err)
	case err != nil:
		log.Debug("cannot resolve", "error", err)
	}
	c.unresolved[i] = err != nil
}

// move gives the only host of a LOGICAL_DNS cluster its address. Connections to the one before stay. Without an answer nothing changes.
func (c *Cluster) move(i int, answers []discovery.Answer) bool {
	if len(answers) == 0 {
		return false
	}
	e := c.Config.assigned.endpoints[i]
	to := netip.AddrPortFrom(answers[0].Addr, e.port)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.found[i]) > 0 {
		h := c.found[i][0]
		if h.AddrPort() != to {
			h.at.Store(&place{to.String(), to})
		}
		return false
	}
	c.found[i] = []*Host{c.newHost(e, to)}
	c.countSockets(c.found[i])
	c.watch(c.found[i])
	c.members.Lane(0).MembershipChange.Inc()
	return true
}

// replace makes the hosts of an endpoint those of the answers, keeping those that it knows. It reports whether anything changed.
func (c *Cluster) replace(i int, answers []discovery.Answer) bool {
	e := c.Config.assigned.endpoints[i]
	c.mu.Lock()
	defer c.mu.Unlock()
	old := map[netip.AddrPort]*Host{}
	for _, h := range c.found[i] {
		old[h.AddrPort()] = h
	}
	var next, fresh []*Host
	changed := false
	for _, a := range answers {
		at := netip.AddrPortFrom(a.Addr, e.port)
		if h, known := old[at]; known {
			if h != nil {
				changed = h.set(0, PendingDynamicRemoval) || changed
				next = append(next, h)
			}
		} else {
			fresh = append(fresh, c.newHost(e, at))
			next = append(next, fresh[len(fresh)-1])
		}
		old[at] = nil // an address that is named twice counts once
	}
	var gone []*Host
	for _, h := range c.found[i] {
		switch {
		case old[h.AddrPort()] == nil:
		case c.stays(h):
			h.set(PendingDynamicRemoval, 0)
			next = append(next, h)
		default:
			gone = append(gone, h)
		}
	}
	if len(fresh) == 0 && len(gone) == 0 {
		return changed
	}
	c.members.Lane(0).MembershipChange.Inc()
	c.found[i] = next
	c.countSockets(fresh)
	c.watch(fresh)
	c.drop(gone)
	return true
}

// stays reports whether a host that discovery no longer names is kept, because its health check says that it is well.
func (c *Cluster) stays(h *Host) bool {
	return c.checker != nil && h.stop != nil && !c.Config.IgnoreHealthOnDrop && h.Health()&FailedActiveHC == 0
}

// drop lets go of hosts. mu is held.
func (c *Cluster) drop(gone []*Host) {
	for _, h := range gone {
		if h.stop != nil {
			h.stop()
			h.stop = nil
		}
		used := false
		h.gone.Store(true)
		h.eachPool(func(p *pool.Pool) { p.Drain(); used = true })
		if used {
			c.leaving = append(c.leaving, h)
		}
	}
	left := c.leaving[:0]
	for _, h := range c.leaving {
		if !h.idle() {
			left = append(left, h)
		}
	}
	clear(c.leaving[len(left):])
	c.leaving = left
}

// newHost makes a host of an endpoint at an address. Where there are health checks it begins as unhealthy.
func (c *Cluster) newHost(e *endpoint, at netip.AddrPort) *Host {
	h := &Host{cluster: c}
	h.from.Store(e)
	if at.IsValid() && at != e.addr {
		h.at.Store(&place{at.String(), at})
	}
	state := e.status
	if c.Config.Health != nil && !e.check.disabled {
		state |= FailedActiveHC
		if c.Config.IgnoreNewHosts {
			state |= PendingActiveHC
		}
	}
	h.health.Store(uint32(state))
	return h
}

// rebuild makes the host set anew. Of several goroutines that ask for it at the same time one does it, for all.
func (c *Cluster) rebuild() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
	if c.building {
		return
	}
	c.building = true
	for c.dirty {
		c.dirty = false
		hosts, overprov := c.flatten(), c.overprov
		c.mu.Unlock()
		set := newHostSet(c.Config, overprov, hosts)
		before := c.hosts.Swap(set)
		c.account(set)
		if c.Config.CloseOnSetChange && !slices.Equal(before.all, set.all) {
			c.closeAll(before)
		}
		c.mu.Lock()
	}
	c.building = false
}

// flatten returns the hosts in the order of the configuration. An address that several names have counts once. mu is held.
func (c *Cluster) flatten() []*Host {
	if c.Config.Type == EDS {
		return c.found[0]
	}
	var all []*Host
	seen := map[string]bool{}
	for _, hosts := range c.found {
		for _, h := range hosts {
			if c.Config.Type == StrictDNS {
				if seen[h.Address()] {
					continue
				}
				seen[h.Address()] = true
			}
			all = append(all, h)
		}
	}
	return all
}

// closeAll closes the idle connections of a set and lets the others end.
func (c *Cluster) closeAll(set *HostSet) {
	for _, h := range set.all {
		h.eachPool(func(p *pool.Pool) { p.Retire() })
	}
}

// account brings the gauges of membership up to date.
func (c *Cluster) account(s *HostSet) {
	lane := c.members.Lane(0)
	lane.MembershipTotal.Set(int64(len(s.all)))
	lane.MembershipHealthy.Set(int64(s.healthy))
	lane.MembershipDegraded.Set(int64(s.degraded))
	lane.MembershipExcluded.Set(int64(s.excluded))
	heaviest := uint32(0)
	for _, h := range s.all {
		heaviest = max(heaviest, h.spec().weight)
	}
	lane.MaxHostWeight.Set(int64(heaviest))
}

// resolver returns whom to ask for addresses.
func (c *Cluster) resolver() discovery.Resolver {
	if o := c.Config.DNS.Resolver; o != nil {
		return discovery.NewDNS(*o)
	}
	if c.env.Resolver != nil {
		return c.env.Resolver
	}
	return discovery.NewDNS(discovery.Options{})
}
