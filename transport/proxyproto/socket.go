package proxyproto

import (
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

// Upstream is the transport socket envoy.transport_sockets.upstream_proxy_protocol: connections to upstream hosts begin with a header that
// tells of the downstream connection, and go on as another transport socket has it.
func Upstream() socket.Factory {
	return socket.Factory{
		Name: "envoy.transport_sockets.upstream_proxy_protocol", Config: &upstreamv3.ProxyProtocolUpstreamTransport{},
		NewClient: func(env *socket.Env, cfg proto.Message) (socket.Client, error) {
			return newClient(env, cfg.(*upstreamv3.ProxyProtocolUpstreamTransport)), nil
		},
		Support: support,
	}
}

// support says what Weft does with the fields of the transport socket. ProxyProtocolPassThroughTLVs is the listener filter's as well.
func support() resource.Support {
	const pkg = "envoy.config.core.v3."
	return resource.Support{
		"envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": resource.Names("config transport_socket").
			No("allow_unspecified_address", "where the addresses are not known, the header is a LOCAL one").
			YesBut("tlv_as_pool_key", "connections are never shared by requests with different TLVs"),
		pkg + "ProxyProtocolConfig": resource.Names("version pass_through_tlvs added_tlvs"),
	}
}

// A client writes the header before the inner transport socket begins. Immutable.
type client struct {
	version int
	passAll bool
	pass    []byte // types of the TLVs that are passed on, where that is not all
	added   []byte // TLVs as they go over the wire
	types   []byte // of those in added
	tooLong *stats.Counter
	inner   socket.Client // nil: plain
}

func newClient(env *socket.Env, m *upstreamv3.ProxyProtocolUpstreamTransport) *client {
	c := &client{version: 1, tooLong: env.Stats.Counter("upstream.proxyprotocol.v2_tlvs_exceed_max_length")}
	at := env.Path.Field("config")
	cfg := m.GetConfig()
	if cfg.GetVersion() == corev3.ProxyProtocolConfig_V2 {
		c.version = 2
	}
	if p := cfg.GetPassThroughTlvs(); p != nil {
		c.passAll = p.GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL
		for i, kind := range p.GetTlvType() {
			if kind > 255 {
				env.Problems.Errorf(at.Field("pass_through_tlvs").Field("tlv_type").Index(i), "0 to 255", "not a type of a TLV: %d", kind)
			}
			c.pass = append(c.pass, byte(kind))
		}
	}
	for i, t := range cfg.GetAddedTlvs() {
		at := at.Field("added_tlvs").Index(i)
		switch {
		case t.GetType() > 255:
			env.Problems.Errorf(at.Field("type"), "0 to 255", "not a type of a TLV: %d", t.GetType())
		case len(t.GetValue()) == 0:
			env.Problems.Errorf(at.Field("value"), "", "Invalid TLV configuration: one of 'value' or 'format_string' must be set.")
		case slices.Contains(c.types, byte(t.GetType())):
			env.Problems.Warnf(at.Field("type"), "", "there is a TLV of this type already; the first one counts")
		default:
			var err error
			if c.added, err = AppendTLV(c.added, byte(t.GetType()), t.GetValue()); err != nil {
				env.Problems.Errorf(at.Field("value"), "", "%v", err)
			}
			c.types = append(c.types, byte(t.GetType()))
		}
	}
	c.inner = env.Sockets.Client(env, m.GetTransportSocket(), env.Path.Field("transport_socket"))
	return c
}

// Features implements socket.Client.
func (c *client) Features() socket.Features {
	var f socket.Features
	if c.inner != nil {
		f = c.inner.Features()
	}
	f.PerPeer = true
	return f
}

// Handshake implements socket.Client.
func (c *client) Handshake(u *conn.Conn, o socket.Options) error {
	b, err := c.header(u.Info(), o.Downstream)
	if err != nil {
		return err
	}
	if _, err := u.Write(b); err != nil {
		return err
	}
	if c.inner == nil {
		return nil
	}
	return c.inner.Handshake(u, o)
}

// header returns the header for a connection that is opened for a downstream one; for none it speaks for itself: version 2 as LOCAL,
// version 1 with its own addresses.
func (c *client) header(own, downstream *conn.Info) ([]byte, error) {
	h := Header{Version: c.version, Local: true}
	var source, destination netip.AddrPort
	switch {
	case downstream != nil:
		source, destination = downstream.Remote, downstream.Local
	case c.version == 1:
		source, destination = own.DirectLocal, own.DirectRemote
	}
	if source.IsValid() && destination.IsValid() {
		h.Local, h.Source, h.Destination = false, source, destination
	}
	if h.Local || c.version == 1 {
		return h.Append(nil)
	}
	h.TLVs = c.tlvs(downstream)
	b, err := h.Append(nil)
	if err != nil { // they are too long, all in all
		c.tooLong.Inc()
		h.TLVs = nil
		b, err = h.Append(nil)
	}
	return b, err
}

// tlvs returns the added TLVs, and those passed on that they do not replace.
func (c *client) tlvs(downstream *conn.Info) []byte {
	out := slices.Clone(c.added)
	for kind, value := range Each(downstream.ProxyTLVs) {
		if (c.passAll || slices.Contains(c.pass, kind)) && !slices.Contains(c.types, kind) {
			out, _ = AppendTLV(out, kind, value) // it came in one
		}
	}
	return out
}
