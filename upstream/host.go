package upstream

import (
	"net/netip"
	"sync/atomic"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/upstream/pool"
)

// A Host is one endpoint of a cluster. It stays the same one, with its connections, counters and health, for as long as updates
// name its address. All methods are safe for concurrent use.
type Host struct {
	cluster *Cluster
	from    atomic.Pointer[endpoint] // another one when an update says other things of the same address
	at      atomic.Pointer[place]    // nil: as from says. LOGICAL_DNS hosts move
	health  atomic.Uint32
	pools   [2]atomic.Pointer[pool.Pool] // by poolOf; nil until used
	apart   atomic.Pointer[apart]        // pools of connections that not all requests can share; nil until used
	stats   pool.HostStats
	gone    atomic.Bool // it is no longer one of the cluster's hosts
	stop    func()      // ends its health check; guarded by cluster.mu
}

// A place is an address. Immutable.
type place struct {
	address string
	addr    netip.AddrPort
}

// spec returns what the configuration says of the host.
func (h *Host) spec() *endpoint { return h.from.Load() }

// ClusterName returns the name of the host's cluster.
func (h *Host) ClusterName() string { return h.cluster.Name }

// Address returns the host's address as ip:port, or the path of its unix socket.
func (h *Host) Address() string {
	if p := h.at.Load(); p != nil {
		return p.address
	}
	return h.spec().address
}

// AddrPort returns the host's address; the zero value for unix sockets.
func (h *Host) AddrPort() netip.AddrPort {
	if p := h.at.Load(); p != nil {
		return p.addr
	}
	return h.spec().addr
}

// Hostname returns the name that the configuration gives the host, or that it was resolved from; "" when there is none.
func (h *Host) Hostname() string { return h.spec().hostname }

// Weight returns load_balancing_weight, default 1.
func (h *Host) Weight() uint32 { return h.spec().weight }

// Priority returns the priority, 0 being the highest.
func (h *Host) Priority() int { return h.spec().locality.priority }

// Canary reports whether metadata marks the host as a canary (envoy.lb: {canary: true}).
func (h *Host) Canary() bool { return h.spec().canary }

// Locality returns region, zone and sub-zone.
func (h *Host) Locality() (region, zone, subZone string) {
	l := h.spec().locality
	return l.Region, l.Zone, l.SubZone
}

// Metadata returns the endpoint's metadata, or else its locality's. It must not be changed.
func (h *Host) Metadata() map[string]map[string]any { return h.spec().facts() }

// Scheme returns https where what is sent to the host is encrypted, else http.
func (h *Host) Scheme() string {
	if h.spec().via.Secure {
		return "https"
	}
	return "http"
}

// Health returns why the host gets no traffic, or less.
func (h *Host) Health() Health { return Health(h.health.Load()) }

// Stats returns the host's own counters.
func (h *Host) Stats() *pool.HostStats { return &h.stats }

// poolOf returns which of a host's pools has connections of a version.
func poolOf(v protocol.Version) int {
	if v == protocol.HTTP2 {
		return 1
	}
	return 0
}

// Pool returns the host's connections: of the version that the cluster is configured for, HTTP/1.1 where the downstream decides.
func (h *Host) Pool() *pool.Pool { return h.poolOf(h.cluster.Config.HTTP.Version) }

// version returns what is spoken to the host for a request that came by the downstream protocol, as %PROTOCOL% prints it. That counts where
// the cluster's protocol follows it (use_downstream_protocol_config).
func (h *Host) version(downstream string) protocol.Version {
	c := &h.cluster.Config.HTTP
	if c.Follow && downstream == protocol.HTTP2.String() {
		return protocol.HTTP2
	}
	return c.Version
}

func (h *Host) poolOf(v protocol.Version) *pool.Pool {
	at := &h.pools[poolOf(v)]
	if p := at.Load(); p != nil {
		return p
	}
	p := pool.New(h.cluster.poolOptions(v), h.target, &h.stats, h.transport(v))
	if !at.CompareAndSwap(nil, p) {
		return at.Load()
	}
	if h.leaves() {
		p.Drain()
	}
	return p
}

// leaves reports whether the host, or its whole cluster, is on its way out: new connections serve once.
func (h *Host) leaves() bool { return h.gone.Load() || h.cluster.draining.Load() }

// eachPool calls do for the pools that were made.
func (h *Host) eachPool(do func(*pool.Pool)) {
	for i := range h.pools {
		if p := h.pools[i].Load(); p != nil {
			do(p)
		}
	}
	if a := h.apart.Load(); a != nil {
		a.each(do)
	}
}

// idle reports whether the host has no connection.
func (h *Host) idle() bool {
	all := true
	h.eachPool(func(p *pool.Pool) { all = all && p.Empty() })
	return all
}

func (h *Host) target() (network, address string) { return h.spec().network, h.Address() }

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
