package upstream

import (
	"context"
	"errors"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol/auto"
	"github.com/weftproxy/weft/protocol/http2"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream/health"
	"github.com/weftproxy/weft/upstream/pool"
)

// watch starts the health checks of hosts, one goroutine each, which ends when the host goes or the cluster does. mu is held.
func (c *Cluster) watch(hosts []*Host) {
	if c.checker == nil || c.run == nil {
		return
	}
	for _, h := range hosts {
		if h.spec().check.disabled {
			continue
		}
		ctx, cancel := context.WithCancel(c.run)
		h.stop = cancel
		c.unready++
		first := true
		c.running.Go(func() {
			defer cancel()
			c.checker.Run(ctx, h.checked, func(r health.Result) {
				c.judge(h, r)
				if first {
					first = false
					c.settled()
				}
			})
			c.forgetHealth(h)
			if first {
				c.settled()
			}
		})
	}
}

// checked says what the health check of a host connects to.
func (h *Host) checked() health.Target {
	t := health.Target{Network: h.spec().network, Address: h.Address(), Port: h.spec().check.port, Hostname: h.spec().check.hostname}
	if h.spec().check.address != "" {
		t.Network, t.Address = "tcp", h.spec().check.address
	}
	o, via := h.cluster.Config.Health, h.spec().via
	if o.SocketMatch != nil {
		via = h.cluster.sockets.choose(o.SocketMatch, nil)
	}
	t.Transport = pool.Transport{Socket: via.socket, Options: socket.Options{ALPN: o.ALPN, HostName: h.spec().hostname}}
	switch {
	case o.HTTP != nil && o.HTTP.Negotiated:
		t.Transport.Options.Fallback = alpnAuto
	case o.GRPC != nil, o.HTTP != nil && o.HTTP.HTTP2:
		t.Transport.Options.Fallback = alpnHTTP2
	case o.HTTP != nil:
		t.Transport.Options.Fallback = alpnHTTP1
	}
	return t
}

// errUnhealthy is what connections are closed with when their host fails its health check.
var errUnhealthy = errors.New("upstream: host failed its health check")

// judge takes over the result of a check.
func (c *Cluster) judge(h *Host, r health.Result) {
	var on Health
	off := FailedActiveHC | ActiveHCTimeout | DegradedActiveHC | ExcludedViaImmediateHCFail | PendingActiveHC
	if !r.Healthy {
		on |= FailedActiveHC
	}
	if r.TimedOut && !r.Healthy {
		on |= ActiveHCTimeout
	}
	if r.Degraded {
		on |= DegradedActiveHC
	}
	if r.Excluded {
		on |= ExcludedViaImmediateHCFail
	}
	before := h.Health()
	changed := h.set(on, off&^on)
	c.countHealth(before, h.Health())
	if !changed {
		return
	}
	if !r.Healthy {
		c.failed(h)
	}
	c.rebuild()
}

// countHealth keeps the gauges of health checks.
func (c *Cluster) countHealth(before, after Health) {
	s := c.checker.Stats
	was, is := before&FailedActiveHC == 0, after&FailedActiveHC == 0
	switch {
	case is && !was:
		s.Healthy.Inc()
	case was && !is:
		s.Healthy.Dec()
	}
	was, is = before&DegradedActiveHC != 0, after&DegradedActiveHC != 0
	switch {
	case is && !was:
		s.Degraded.Inc()
	case was && !is:
		s.Degraded.Dec()
	}
}

// forgetHealth takes a host that is no longer checked out of the gauges.
func (c *Cluster) forgetHealth(h *Host) {
	if h.Health()&FailedActiveHC == 0 {
		c.checker.Stats.Healthy.Dec()
	}
	if h.Health()&DegradedActiveHC != 0 {
		c.checker.Stats.Degraded.Dec()
	}
}

// failed does what the configuration asks for when a host fails its check.
func (c *Cluster) failed(h *Host) {
	if c.Config.CloseOnFailure {
		h.eachPool(func(p *pool.Pool) { p.Reset(errUnhealthy) })
	}
	if h.Health()&PendingDynamicRemoval == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, hosts := range c.found {
		for j := range hosts {
			if hosts[j] == h {
				c.found[i] = append(append([]*Host(nil), hosts[:j]...), hosts[j+1:]...)
				c.members.Lane(0).MembershipChange.Inc()
				c.drop([]*Host{h})
				return
			}
		}
	}
}

// newChecker returns what the health checks of the cluster's hosts share.
func (c *Cluster) newChecker() *health.Checker {
	h := &health.Checker{
		Config: c.Config.Health, Cluster: c.Name, Network: c.env.Network, Local: c.Config.Bind.Local, Control: c.Config.Bind.Control,
		Stats: stats.NewGroup[health.Stats](c.scope.Scope("health_check.")).Lane(0), Used: c.used,
		Bounds: c.Config.settings.checkInterval,
	}
	switch o := c.Config.Health; {
	case o.HTTP != nil && o.HTTP.Negotiated:
		h1, h2 := c.env.HTTP1(c.Config.HTTP.Client), c.env.HTTP2(http2.ClientOptions{Options: c.Config.HTTP.http2Options()})
		other := h1
		if o.HTTP.HTTP2 {
			other = h2
		}
		h.Client = auto.NewClient(h1, h2, other)
	case o.GRPC != nil, o.HTTP != nil && o.HTTP.HTTP2:
		h.Client = c.env.HTTP2(http2.ClientOptions{Options: c.Config.HTTP.http2Options()})
	case o.HTTP != nil:
		h.Client = c.env.HTTP1(c.Config.HTTP.Client)
	}
	return h
}

// used reports whether the cluster ever had a request.
func (c *Cluster) used() bool { return c.wanted.Load() }
