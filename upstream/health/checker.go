package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/upstream/pool"
)

// A Checker is what the checks of all hosts of a cluster share. Immutable.
type Checker struct {
	Config  *Config
	Cluster string // name sent as Host where nothing better is known
	Network transport.Network
	Local   string
	Control func(network, address string, c syscall.RawConn) error
	Client  protocol.Client // for HTTP and gRPC checks
	Stats   *Stats
	Bounds  func(d time.Duration) time.Duration // keeps an interval to what the runtime allows; nil: it does not say
	Used    func() bool                         // whether the cluster has ever had traffic: until then no_traffic_interval holds
}

// A Target is what is checked.
type Target struct {
	Network, Address string
	Port             uint16 // health_check_config.port_value: instead of the address's; 0: alt_port or the address's
	Hostname         string // health_check_config.hostname
	Transport        pool.Transport
}

// A Result is the health of a host after a check.
type Result struct {
	Healthy  bool
	TimedOut bool // the last check failed because it took too long
	Degraded bool // the host said so (x-envoy-degraded)
	Excluded bool // the host asked to be left out (x-envoy-immediate-health-check-fail)
}

// An outcome is what one check has found.
type outcome struct {
	err       error // nil: healthy
	network   bool  // the failure is the connection's, not an answer
	retriable bool
	degraded  bool
	excluded  bool
}

var errTimeout = errors.New("health: check timed out")

// Run checks a host until ctx ends. It calls report after each check. A host counts as unhealthy until its first check, which is
// enough to make it healthy.
func (c *Checker) Run(ctx context.Context, target func() Target, report func(Result)) {
	s := state{c: c.Config}
	p := c.probe(target)
	defer p.close()
	wait := time.Duration(0)
	if c.Config.InitialJitter > 0 {
		wait = rand.N(c.Config.InitialJitter)
	}
	for sleep(ctx, wait) {
		c.Stats.Attempt.Inc()
		out := c.check(ctx, p)
		if ctx.Err() != nil {
			return
		}
		c.count(out)
		pending := s.apply(out)
		report(Result{Healthy: s.healthy, TimedOut: out.err == errTimeout, Degraded: out.degraded, Excluded: out.excluded})
		wait = c.wait(s.healthy, pending)
	}
}

// sleep waits for d, at least until ctx is looked at. It reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err() == nil
}

func (c *Checker) check(ctx context.Context, p *probe) outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Config.Timeout, errTimeout)
	defer cancel()
	out := p.check(ctx)
	if out.err != nil && context.Cause(ctx) == errTimeout {
		out.err, out.network = errTimeout, true
	}
	return out
}

func (c *Checker) count(out outcome) {
	if out.err == nil {
		c.Stats.Success.Inc()
		return
	}
	c.Stats.Failure.Inc()
	if out.network {
		c.Stats.NetworkFailure.Inc()
	}
}

// wait returns the time to the next check. pending says that the host is on its way to another state.
func (c *Checker) wait(healthy, pending bool) time.Duration {
	o := c.Config
	var d time.Duration
	switch {
	case !c.Used():
		d = o.NoTrafficInterval
		if healthy && !pending {
			d = o.NoTrafficHealthy
		}
	case healthy && pending:
		d = o.UnhealthyEdgeInterval
	case healthy:
		d = o.Interval
	case pending:
		d = o.HealthyEdge
	default:
		d = o.UnhealthyInterval
	}
	if o.Jitter > 0 {
		d += rand.N(o.Jitter)
	}
	if share := d * time.Duration(o.JitterPercent) / 100; share > 0 {
		d += rand.N(share)
	}
	if c.Bounds != nil {
		d = c.Bounds(d)
	}
	return max(d, time.Millisecond)
}

// A state is where a host stands between its thresholds.
type state struct {
	c       *Config
	healthy bool
	known   bool // there was a check
	in, out int  // consecutive successes while unhealthy, and failures while healthy
}

// apply takes a check into account and reports whether the host is on its way to another state.
func (s *state) apply(o outcome) (pending bool) {
	first := !s.known
	s.known = true
	if o.err == nil {
		s.out = 0
		if s.healthy {
			return false
		}
		s.in++
		if first || s.in >= s.c.HealthyThreshold {
			s.healthy, s.in = true, 0
			return false
		}
		return true
	}
	s.in = 0
	if !s.healthy {
		return false
	}
	s.out++
	// An answer that says no is believed at once; a connection that fails may do better next time.
	if (!o.network && !o.retriable) || s.out >= s.c.UnhealthyThreshold {
		s.healthy, s.out = false, 0
		return false
	}
	return true
}

// A probe is the connection over which a host is checked.
type probe struct {
	c       *Checker
	target  func() Target
	address string // what it is connected to
	conn    *conn.Conn
	session protocol.Session // HTTP and gRPC
	spent   atomic.Bool      // the session takes no more requests

	stop atomic.Pointer[context.CancelCauseFunc] // fails the check under way; nil: there is none
}

func (c *Checker) probe(target func() Target) *probe { return &probe{c: c, target: target} }

func (p *probe) check(ctx context.Context) outcome {
	t := p.target()
	network, address := t.Network, p.c.address(t)
	if p.conn != nil && (p.address != address || !p.alive()) {
		p.close()
	}
	if p.conn == nil {
		local := p.c.Local
		if network == "unix" {
			local = ""
		}
		nc, err := p.c.Network.Dial(ctx, transport.DialOptions{Network: network, Address: address, Local: local, Control: p.c.Control})
		if err != nil {
			return outcome{err: err, network: true}
		}
		p.conn, p.address = conn.New(nc), address
		if err := t.Transport.Handshake(ctx, p.conn); err != nil {
			p.close()
			return outcome{err: err, network: true}
		}
	}
	var out outcome
	switch {
	case p.c.Config.HTTP != nil:
		out = p.ask(ctx, p.request(t), p.judge)
	case p.c.Config.GRPC != nil:
		out = p.ask(ctx, p.call(t), p.judgeCall)
	default:
		out = p.tcp(ctx)
	}
	if !p.c.Config.Reuse || out.err != nil && out.network || p.spent.Load() {
		p.close()
	}
	return out
}

// address returns where to connect: the host's address with the port to check.
func (c *Checker) address(t Target) string {
	port := t.Port
	if port == 0 {
		port = c.Config.AltPort
	}
	if port == 0 || t.Network == "unix" {
		return t.Address
	}
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil {
		return t.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// scheme is that of requests to the target.
func (t *Target) scheme() string {
	if s := t.Transport.Socket; s != nil && s.Features().Secure {
		return "https"
	}
	return "http"
}

func (p *probe) alive() bool {
	if p.spent.Load() {
		return false
	}
	s, ok := p.session.(interface{ Alive() bool })
	return !ok || s.Alive()
}

func (p *probe) close() {
	switch {
	case p.session != nil:
		p.session.Close(nil)
	case p.conn != nil:
		_ = p.conn.Close() // nothing is left to lose
	}
	p.conn, p.session = nil, nil
	p.spent.Store(false)
}
