package dispatch

import (
	"net/netip"
	"strconv"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// Whom a header is taken from.
const (
	never     uint8 = iota
	always          // every client that is not internal: the header steers the router
	atTheEdge       // every client of an edge proxy that is not internal
)

// notFromOutside says which well-known headers an external client must not send. Immutable.
var notFromOutside = [256]uint8{
	message.XEnvoyInternal: always, message.XEnvoyRetryOn: always, message.XEnvoyRetryGRPCOn: always,
	message.XEnvoyMaxRetries: always, message.XEnvoyUpstreamAltStatName: always, message.XEnvoyUpstreamRqTimeoutMs: always,
	message.XEnvoyUpstreamRqPerTryTimeoutMs: always, message.XEnvoyUpstreamRqTimeoutAltResponse: always,
	message.XEnvoyExpectedRqTimeoutMs: always, message.XEnvoyForceTrace: always, message.XEnvoyIPTags: always,
	message.XEnvoyHedgeOnPerTryTimeout: always, message.XEnvoyRetriableStatusCodes: always,
	message.XEnvoyRetriableHeaderNames: always, message.XEnvoyOriginalPath: always, message.XEnvoyOriginalHost: always,
	message.XEnvoyDecoratorOperation: atTheEdge, message.XEnvoyDownstreamServiceCluster: atTheEdge,
	message.XEnvoyDownstreamServiceNode: atTheEdge,
}

// sanitize makes the request's headers say what Weft knows and not what the client claims: addresses, protocol, internal
// headers, request ID. It is Envoy's mutateRequestHeaders.
func (d *Dispatcher) sanitize(x *exchange.Exchange, internalHeaders []string) {
	c, r, info := d.cfg, x.Request, x.Conn
	h := &r.Header
	trusted, single := d.clientAddress(h, info)
	internal := single && trusted.IsValid() && c.internal.has(trusted) || c.internal.unix && info.Network == "unix"
	if trusted.IsValid() && trusted != info.Remote.Addr() {
		x.Record.Remote = netip.AddrPortFrom(trusted, 0)
	}
	d.setScheme(r, info)
	x.UpstreamScheme = c.UpstreamScheme
	x.Record.Internal = internal
	edge := !internal && c.UseRemoteAddress
	if internal {
		h.SetKnown(message.XEnvoyInternal, "true")
	} else {
		d.stripInternal(h, edge, internalHeaders)
		if edge && trusted.IsValid() {
			setAddr(h, message.XEnvoyExternalAddress, trusted)
		}
	}
	if c.AddUserAgent {
		d.identify(h)
	}
	d.setRequestID(x, edge)
	c.clientCert.apply(h, info.TLS)
	if !c.ProxyContinue {
		h.DelKnown(message.Expect) // Weft says 100 itself; the upstream is not asked
	}
	if c.Via != "" {
		appendValue(h, message.Via, c.Via)
	}
}

// clientAddress finds out who the client is and appends to x-forwarded-for. single is false when the address is not to be trusted
// as an internal one because other proxies were involved.
func (d *Dispatcher) clientAddress(h *message.Header, info *conn.Info) (client netip.Addr, single bool) {
	c := d.cfg
	if !c.UseRemoteAddress {
		client, single = lastFromXFF(h, c.TrustedHops)
		if !h.HasKnown(message.XForwardedFor) {
			return info.Remote.Addr(), false
		}
		return client, single
	}
	single = !h.HasKnown(message.XForwardedFor)
	if c.TrustedHops > 0 {
		client, _ = lastFromXFF(h, c.TrustedHops-1)
	}
	if !client.IsValid() {
		client = info.Remote.Addr()
	}
	if !c.SkipXFFAppend && info.Remote.IsValid() {
		d.appendXFF(h, info.Remote.Addr())
	}
	if c.TrustedHops == 0 || !h.HasKnown(message.XForwardedProto) {
		h.SetKnown(message.XForwardedProto, schemeOf(info))
	}
	if c.AppendPort && (c.TrustedHops == 0 || !h.HasKnown(message.XForwardedPort)) {
		h.SetKnown(message.XForwardedPort, strconv.Itoa(int(info.Local.Port())))
	}
	return client, single
}

func (d *Dispatcher) appendXFF(h *message.Header, a netip.Addr) {
	var scratch [64]byte
	b := scratch[:0]
	if old, ok := h.Joined("x-forwarded-for", ","); ok && old != "" {
		b = append(append(b, old...), ',')
	}
	if d.cfg.IPv4Mapped && a.Is4() {
		a = netip.AddrFrom16(a.As16())
	}
	h.SetKnownBytes(message.XForwardedFor, a.AppendTo(b))
}

func setAddr(h *message.Header, k message.Known, a netip.Addr) {
	var scratch [48]byte
	h.SetKnownBytes(k, a.AppendTo(scratch[:0]))
}

func appendValue(h *message.Header, k message.Known, v string) {
	if old := h.Known(k); old != "" {
		h.SetKnown(k, old+", "+v)
		return
	}
	h.AddKnown(k, v)
}

func schemeOf(info *conn.Info) string {
	if info.TLS != nil {
		return "https"
	}
	return "http"
}

// setScheme gives the request a scheme: what a trusted hop says in x-forwarded-proto, else that of the connection, else as
// configured.
func (d *Dispatcher) setScheme(r *message.Request, info *conn.Info) {
	c := d.cfg
	if info.Restored && (c.httpsPorts != nil || c.httpPorts != nil) {
		switch port := uint32(info.Local.Port()); {
		case c.httpsPorts[port]:
			r.Header.SetKnown(message.XForwardedProto, "https")
		case c.httpPorts[port]:
			r.Header.SetKnown(message.XForwardedProto, "http")
		}
	}
	xfp := r.Header.Known(message.XForwardedProto)
	if xfp != "http" && xfp != "https" {
		if xfp == "" {
			xfp = schemeOf(info)
			r.Header.AddKnown(message.XForwardedProto, xfp)
		} else {
			xfp = schemeOf(info)
		}
	}
	r.Scheme = xfp
	if c.Scheme != "" {
		r.Scheme = c.Scheme
	}
}

// stripInternal removes what an external client must not say.
func (d *Dispatcher) stripInternal(h *message.Header, edge bool, internalHeaders []string) {
	for i := range h.Slots() {
		if _, _, k, ok := h.At(i); ok && (notFromOutside[k] == always || edge && notFromOutside[k] == atTheEdge) {
			h.DelAt(i)
		}
	}
	for _, name := range internalHeaders {
		h.Del(name)
	}
}

// identify says who the service behind this proxy is (add_user_agent).
func (d *Dispatcher) identify(h *message.Header) {
	o := &d.cfg.options
	if h.Known(message.UserAgent) == "" {
		h.SetKnown(message.UserAgent, o.Cluster)
	}
	h.SetKnown(message.XEnvoyDownstreamServiceCluster, o.Cluster)
	if o.Node != "" {
		h.SetKnown(message.XEnvoyDownstreamServiceNode, o.Node)
	}
}
