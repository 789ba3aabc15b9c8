package upstream

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream/pool"
)

// A Demand is what a request asks of the connection that carries it.
type Demand struct {
	Protocol   string     // of the downstream, as %PROTOCOL% prints it; it counts where the cluster follows it
	Name       string     // whom the request is for, without a port, where the cluster goes by it (HTTP.Named); borrowed
	NameIsIP   bool       // Name is an IP address, for which no SNI can ask
	Downstream *conn.Info // nil: none
	Lane       uint32
	Priority   int
}

// Acquire returns a session on one of the host's connections for a request, as pool.Pool's Acquire.
func (h *Host) Acquire(ctx context.Context, d *Demand) (pool.Lease, error) {
	v := h.version(d.Protocol)
	if !h.divided() {
		return h.poolOf(v).Acquire(ctx, d.Lane, d.Priority)
	}
	key := h.key(v, d)
	if key == (poolKey{version: v}) {
		return h.poolOf(v).Acquire(ctx, d.Lane, d.Priority)
	}
	a := h.apart.Load()
	if a == nil {
		h.apart.CompareAndSwap(nil, &apart{})
		a = h.apart.Load()
	}
	for {
		p := a.find(key, h.newApart)
		if p == nil {
			h.cluster.Stats(d.Lane).CxPoolOverflow.Inc()
			return pool.Lease{}, &pool.Error{Kind: pool.Overflow, Address: h.Address()}
		}
		lease, err := p.Acquire(ctx, d.Lane, d.Priority)
		if err == nil || !errors.Is(err, pool.ErrTidied) {
			return lease, err
		}
	}
}

// Connect dials a connection without a protocol, as pool.Pool's Connect. downstream is the connection that it is opened for, nil for none.
func (h *Host) Connect(ctx context.Context, downstream *conn.Info, lane uint32, priority int) (*pool.Raw, error) {
	return h.Pool().Connect(ctx, lane, priority, downstream, nil)
}

// divided reports whether there are requests that cannot share the host's connections.
func (h *Host) divided() bool {
	via := h.spec().via
	return via.socket != nil && (via.PerPeer || h.cluster.Config.HTTP.Named())
}

// A poolKey is what the requests that share connections have in common.
type poolKey struct {
	version             protocol.Version
	sni                 string
	san                 string         // a name that the certificate has to have
	checked             bool           // san counts, be it ""
	source, destination netip.AddrPort // PerPeer: of the downstream connection
	tlvs                string         // PerPeer: what its PROXY protocol header passed on
}

// key returns what a request's connections depend on. Its strings are borrowed.
func (h *Host) key(v protocol.Version, d *Demand) poolKey {
	k := poolKey{version: v}
	o := &h.cluster.Config.HTTP
	if o.AutoSNI && !d.NameIsIP {
		k.sni = d.Name
	}
	if o.AutoSAN { // of a request for nobody no certificate will do
		k.san, k.checked = d.Name, true
	}
	if h.spec().via.PerPeer && d.Downstream != nil {
		k.source, k.destination, k.tlvs = d.Downstream.Remote, d.Downstream.Local, string(d.Downstream.ProxyTLVs)
	}
	return k
}

// transport returns what connections that speak a version lie on.
func (h *Host) transport(v protocol.Version) pool.Transport {
	return pool.Transport{Socket: h.spec().via.socket, Options: socket.Options{HostName: h.spec().hostname, Fallback: alpnOf(v)}}
}

// newApart returns a pool of connections for the requests of a key.
func (h *Host) newApart(k poolKey) *pool.Pool {
	via := h.transport(k.version)
	via.Options.SNI = k.sni
	if k.checked {
		via.Options.SANs = []string{k.san}
	}
	if k.source.IsValid() {
		// Only what the transport may tell of it: the pool outlives the connection.
		via.Options.Downstream = &conn.Info{Network: "tcp", Remote: k.source, Local: k.destination, ProxyTLVs: []byte(k.tlvs)}
	}
	p := pool.New(h.cluster.poolOptions(k.version), h.target, &h.stats, via)
	if h.leaves() {
		p.Drain()
	}
	return p
}

// clone returns the key with strings of its own.
func (k poolKey) clone() poolKey {
	k.sni, k.san = strings.Clone(k.sni), strings.Clone(k.san)
	return k
}

// What TLS offers for a version of HTTP where the configuration has no alpn_protocols. Immutable.
var (
	alpnHTTP1 = []string{"http/1.1"}
	alpnHTTP2 = []string{"h2"}
	alpnAuto  = []string{"h2", "http/1.1"}
)

func alpnOf(v protocol.Version) []string {
	switch v {
	case protocol.HTTP2:
		return alpnHTTP2
	case protocol.VersionUnknown:
		return alpnAuto
	}
	return alpnHTTP1
}
