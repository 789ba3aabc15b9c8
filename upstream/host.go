package upstream

import (
	"net/netip"
	"sync/atomic"

	"github.com/weftproxy/weft/upstream/pool"
)

// A Host is one endpoint of a cluster. It stays the same one, with its connections, counters and health, for as long as updates
// name its address. All methods are safe for concurrent use.
type Host struct {
	cluster *Cluster
	from    *endpoint
	at      atomic.Pointer[place] // nil: as from says. LOGICAL_DNS hosts move
	health  atomic.Uint32
	pool    atomic.Pointer[pool.Pool]
	stats   pool.HostStats
	stop    func() // ends its health check; guarded by cluster.mu
}

// A place is an address. Immutable.
type place struct {
	address string
	addr    netip.AddrPort
}

// ClusterName returns the name of the host's cluster.
func (h *Host) ClusterName() string { return h.cluster.Name }

// Address returns the host's address as ip:port, or the path of its unix socket.
func (h *Host) Address() string {
	if p := h.at.Load(); p != nil {
		return p.address
	}
	return h.from.address
}

// AddrPort returns the host's address; the zero value for unix sockets.
func (h *Host) AddrPort() netip.AddrPort {
	if p := h.at.Load(); p != nil {
		return p.addr
	}
	return h.from.addr
}

// Hostname returns the name that the configuration gives the host, or that it was resolved from; "" when there is none.
func (h *Host) Hostname() string { return h.from.hostname }

// Weight returns load_balancing_weight, default 1.
func (h *Host) Weight() uint32 { return h.from.weight }

// Priority returns the priority, 0 being the highest.
func (h *Host) Priority() int { return h.from.locality.priority }

// Canary reports whether metadata marks the host as a canary (envoy.lb: {canary: true}).
func (h *Host) Canary() bool { return h.from.canary }

// Locality returns region, zone and sub-zone.
func (h *Host) Locality() (region, zone, subZone string) {
	l := h.from.locality
	return l.Region, l.Zone, l.SubZone
}

// Metadata returns the endpoint's metadata, or else its locality's. It must not be changed.
func (h *Host) Metadata() map[string]map[string]any { return h.from.metadata }

// Health returns why the host gets no traffic, or less.
func (h *Host) Health() Health { return Health(h.health.Load()) }

// Stats returns the host's own counters.
func (h *Host) Stats() *pool.HostStats { return &h.stats }

// Pool returns the host's connections.
func (h *Host) Pool() *pool.Pool {
	if p := h.pool.Load(); p != nil {
		return p
	}
	p := pool.New(h.cluster.poolOptions(), h.target, &h.stats)
	if !h.pool.CompareAndSwap(nil, p) {
		return h.pool.Load()
	}
	if h.cluster.draining.Load() {
		p.Drain()
	}
	return p
}

func (h *Host) target() (network, address string) { return h.from.network, h.Address() }

// set changes flags and reports whether the change matters to the balancer.
func (h *Host) set(on, off Health) bool {
	for {
		old := h.health.Load()
		next := old&^uint32(off) | uint32(on)
		if old == next {
			return false
		}
		if h.health.CompareAndSwap(old, next) {
			return (old^next)&uint32(unhealthy|degraded|PendingActiveHC|ExcludedViaImmediateHCFail) != 0
		}
	}
}
