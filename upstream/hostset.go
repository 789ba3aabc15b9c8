package upstream

import (
	"math/rand/v2"

	"github.com/weftproxy/weft/upstream/balance"
)

// A HostSet is the hosts of a cluster and how traffic is spread over them. Immutable.
type HostSet struct {
	all                         []*Host // by priority
	healthy, degraded, excluded int
	shares                      []share
}

// All returns all hosts, by priority. The slice must not be changed.
func (s *HostSet) All() []*Host { return s.all }

// Len returns the number of hosts.
func (s *HostSet) Len() int { return len(s.all) }

// Healthy returns the number of hosts that get their full share.
func (s *HostSet) Healthy() int { return s.healthy }

// Degraded returns the number of degraded hosts.
func (s *HostSet) Degraded() int { return s.degraded }

// Excluded returns the number of hosts that do not count at all.
func (s *HostSet) Excluded() int { return s.excluded }

// A share is a part of the traffic and the hosts it goes to.
type share struct {
	upTo  int // in percent, with all shares before it
	panic bool
	group group
}

// A group is hosts to choose from: directly, or by locality first.
type group struct {
	hosts  []*Host
	parts  []group // by locality; nil: hosts
	picker balance.Picker
}

func (g *group) pick(h *balance.Hints) *Host {
	i := g.picker.Pick(h)
	switch {
	case i < 0:
		return nil
	case g.parts != nil:
		return g.parts[i].pick(h)
	}
	return g.hosts[i]
}

// choose returns the share that a request belongs to.
func (s *HostSet) choose(h *balance.Hints) *share {
	if len(s.shares) == 1 {
		return &s.shares[0]
	}
	at := int(h.Draw() % 100)
	for i := range s.shares {
		if at < s.shares[i].upTo {
			return &s.shares[i]
		}
	}
	return &s.shares[len(s.shares)-1]
}

// A tier is the hosts of one priority by health.
type tier struct{ all, healthy, degraded []*Host }

// well adds a healthy host, which is among all; so is every host before it if only is true, and the two lists are one.
func (t *tier) well(h *Host, only bool) {
	if only {
		t.healthy = t.all[:len(t.all):len(t.all)]
		return
	}
	t.healthy = append(t.healthy, h)
}

// newHostSet spreads traffic over hosts, which are in the order of the configuration.
func newHostSet(c *Config, overprov int, hosts []*Host) *HostSet {
	s := &HostSet{}
	highest := 0
	for _, h := range hosts {
		highest = max(highest, h.Priority())
	}
	tiers, levels := make([]tier, highest+1), make([]balance.Level, highest+1)
	for i := range levels {
		levels[i].Factor = overprov
	}
	for _, h := range hosts {
		at := min(h.Priority(), highest) // it may have changed since
		t, l := &tiers[at], &levels[at]
		if t.all == nil {
			t.all = make([]*Host, 0, len(hosts))
		}
		t.all = append(t.all, h)
		l.Total++
		state := h.Health()
		switch {
		case state&ExcludedViaImmediateHCFail != 0, c.IgnoreNewHosts && state&PendingActiveHC != 0:
			s.excluded++
			l.Excluded++
		case state.Healthy():
			s.healthy++
			l.Healthy++
			t.well(h, l.Healthy == l.Total)
		case state.Degraded():
			s.degraded++
			l.Degraded++
			t.degraded = append(t.degraded, h)
		}
	}
	if highest == 0 {
		s.all = tiers[0].all
	} else {
		s.all = make([]*Host, 0, len(hosts))
		for i := range tiers {
			s.all = append(s.all, tiers[i].all...)
		}
	}
	s.spread(c, overprov, tiers, balance.Loads(levels, c.panicThreshold()))
	return s
}

// spread makes the shares.
func (s *HostSet) spread(c *Config, overprov int, tiers []tier, loads balance.Shares) {
	upTo := 0
	add := func(percent int, panic bool, tier *tier, hosts []*Host) {
		if percent == 0 {
			return
		}
		upTo += percent
		s.shares = append(s.shares, share{upTo: upTo, panic: panic, group: newGroup(c, overprov, tier, hosts, panic)})
	}
	for i := range tiers {
		hosts := tiers[i].healthy
		if loads.Panic[i] {
			hosts = tiers[i].all
		}
		add(loads.Healthy[i], loads.Panic[i], &tiers[i], hosts)
	}
	for i := range tiers {
		hosts := tiers[i].degraded
		if loads.Panic[i] {
			hosts = tiers[i].all
		}
		add(loads.Degraded[i], loads.Panic[i], &tiers[i], hosts)
	}
}

// newGroup builds the picker over hosts, some of those of a tier.
func newGroup(c *Config, overprov int, t *tier, hosts []*Host, panic bool) group {
	if c.Locality && !panic && len(hosts) > 0 {
		return byLocality(c, overprov, t, hosts)
	}
	return flat(c, hosts)
}

func flat(c *Config, hosts []*Host) group {
	if len(hosts) == 1 {
		return group{hosts: hosts, picker: balance.Rotate([]uint32{1}, 0)}
	}
	balancing := c.balancing()
	endpoints := make([]balance.Endpoint, len(hosts))
	for i, h := range hosts {
		endpoints[i] = balance.Endpoint{Weight: h.spec().weight, Active: &h.stats.RqActive}
	}
	return group{hosts: hosts, picker: balancing.Build(endpoints, rand.Uint64())}
}

// byLocality chooses a locality by its weight first, reduced as far as its healthy hosts cannot take that much. Localities without a
// weight get nothing.
func byLocality(c *Config, overprov int, t *tier, hosts []*Host) group {
	total := map[*locality]int{}
	for _, h := range t.all {
		total[h.spec().locality]++
	}
	members := map[*locality][]*Host{}
	var order []*locality
	for _, h := range hosts {
		l := h.spec().locality
		if l.weight == 0 {
			continue
		}
		if members[l] == nil {
			order = append(order, l)
		}
		members[l] = append(members[l], h)
	}
	if len(order) == 0 {
		return flat(c, nil)
	}
	g := group{hosts: hosts, parts: make([]group, len(order))}
	weights := make([]uint64, len(order))
	for i, l := range order {
		g.parts[i] = flat(c, members[l])
		weights[i] = uint64(l.weight) * uint64(min(100, overprov*len(members[l])/max(total[l], len(members[l]))))
	}
	g.picker = balance.Rotate(fit(weights), rand.Uint64())
	return g
}

// fit scales weights down to 32 bits.
func fit(weights []uint64) []uint32 {
	most := uint64(0)
	for _, w := range weights {
		most = max(most, w)
	}
	by := most>>32 + 1
	out := make([]uint32, len(weights))
	for i, w := range weights {
		out[i] = uint32(max(w/by, 1))
	}
	return out
}
