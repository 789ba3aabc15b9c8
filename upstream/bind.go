package upstream

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/tcp"
)

// bind compiles what sockets get before they connect: upstream_bind_config and tcp_keepalive.
func (x *compiler) bind(env CompileEnv) {
	var o tcp.SocketOptions
	b, at := x.m.GetUpstreamBindConfig(), x.at.Field("upstream_bind_config")
	if b == nil && env.Bind != nil {
		b = env.Bind
	}
	if s := b.GetSourceAddress(); s != nil {
		at := at.Field("source_address").Field("address")
		ip, err := netip.ParseAddr(s.GetAddress())
		if err != nil {
			x.p.Errorf(at, "", "malformed IP address: %s", s.GetAddress())
		} else if !ip.IsUnspecified() || s.GetPortValue() != 0 {
			x.c.Bind.Local = net.JoinHostPort(ip.String(), strconv.Itoa(int(s.GetPortValue())))
		}
	}
	o.Freebind = b.GetFreebind().GetValue()
	for i, m := range b.GetSocketOptions() {
		x.socketOption(&o, m, at.Field("socket_options").Index(i))
	}
	if k := x.m.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		o.KeepAlive = true
		o.KeepAliveProbes = int(k.GetKeepaliveProbes().GetValue())
		o.KeepAliveIdle = time.Duration(k.GetKeepaliveTime().GetValue()) * time.Second
		o.KeepAliveInterval = time.Duration(k.GetKeepaliveInterval().GetValue()) * time.Second
	}
	if !o.Empty() {
		x.c.Bind.Control = func(network, address string, c syscall.RawConn) error { return o.Apply(network, c) }
	}
}

func (x *compiler) socketOption(o *tcp.SocketOptions, m *corev3.SocketOption, at resource.Path) {
	if m.GetState() == corev3.SocketOption_STATE_LISTENING {
		x.p.Warnf(at.Field("state"), "STATE_PREBIND", "a connection never listens; the option is not applied")
		return
	}
	raw := tcp.RawOption{Level: int(m.GetLevel()), Name: int(m.GetName()), Int: int(m.GetIntValue()), Buf: m.GetBufValue()}
	switch m.GetIpVersion() {
	case corev3.SocketOption_SOCKET_IP_VERSION_IPV4:
		raw.Only = "tcp4"
	case corev3.SocketOption_SOCKET_IP_VERSION_IPV6:
		raw.Only = "tcp6"
	}
	o.Raw = append(o.Raw, raw)
}
