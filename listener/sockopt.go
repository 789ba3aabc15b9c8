package listener

import (
	"encoding/binary"
	"fmt"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/resource"
)

// socketOptions are what is set on a listening socket. Immutable.
type socketOptions struct {
	backlog   int
	reusePort bool
	options   []socketOption // the listener's named ones and socket_options
	keepalive []socketOption
}

// A socketOption is one setsockopt.
type socketOption struct {
	level, name int
	value       []byte
	family      int  // AF_INET or AF_INET6: only for sockets of that family; 0: for all
	late        bool // once the socket listens, instead of before it is bound
	what        string
}

func compileSocketOptions(cfg *listenerv3.Listener, at resource.Path, p *resource.Problems) socketOptions {
	s := socketOptions{
		backlog:   int(cfg.GetTcpBacklogSize().GetValue()),
		reusePort: cfg.GetEnableReusePort().GetValue(),
		options:   compileOptions(cfg.GetSocketOptions(), at.Field("socket_options"), p),
	}
	s.options = appendFlag(s.options, cfg.GetTransparent(), "transparent", unix.IP_TRANSPARENT, unix.IPV6_TRANSPARENT)
	s.options = appendFlag(s.options, cfg.GetFreebind(), "freebind", unix.IP_FREEBIND, unix.IPV6_FREEBIND)
	if q := cfg.GetTcpFastOpenQueueLength(); q != nil {
		s.options = append(s.options, socketOption{level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN, value: native(q.GetValue()), late: true, what: "tcp_fast_open_queue_length"})
	}
	if k := cfg.GetTcpKeepalive(); k != nil {
		s.keepalive = compileKeepalive(k)
	}
	return s
}

// appendFlag adds an option that has a number of its own for each address family.
func appendFlag(to []socketOption, v *wrapperspb.BoolValue, what string, v4, v6 int) []socketOption {
	if v == nil {
		return to
	}
	n := uint32(0)
	if v.GetValue() {
		n = 1
	}
	return append(to,
		socketOption{level: unix.IPPROTO_IP, name: v4, value: native(n), family: unix.AF_INET, what: what},
		socketOption{level: unix.IPPROTO_IPV6, name: v6, value: native(n), family: unix.AF_INET6, what: what})
}

func compileOptions(cfg []*corev3.SocketOption, at resource.Path, p *resource.Problems) []socketOption {
	var all []socketOption
	for i, o := range cfg {
		here := at.Index(i)
		s := socketOption{
			level: int(o.GetLevel()), name: int(o.GetName()), late: o.GetState() != corev3.SocketOption_STATE_PREBIND,
			what: fmt.Sprintf("socket option level %d name %d", o.GetLevel(), o.GetName()),
		}
		switch v := o.GetValue().(type) {
		case *corev3.SocketOption_IntValue:
			if int64(int32(v.IntValue)) != v.IntValue {
				p.Errorf(here.Field("int_value"), "", "%d does not fit an int", v.IntValue)
			}
			s.value = native(uint32(v.IntValue))
		case *corev3.SocketOption_BufValue:
			s.value = v.BufValue
		}
		switch o.GetIpVersion() {
		case corev3.SocketOption_SOCKET_IP_VERSION_IPV4:
			s.family = unix.AF_INET
		case corev3.SocketOption_SOCKET_IP_VERSION_IPV6:
			s.family = unix.AF_INET6
		}
		all = append(all, s)
	}
	return all
}

// compileKeepalive compiles tcp_keepalive. Accepted connections inherit these options; they are set first, so that socket_options can
// change them.
func compileKeepalive(k *corev3.TcpKeepalive) []socketOption {
	all := []socketOption{{level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE, value: native(1), what: "tcp_keepalive"}}
	for _, o := range []struct {
		v    *wrapperspb.UInt32Value
		name int
	}{{k.GetKeepaliveProbes(), unix.TCP_KEEPCNT}, {k.GetKeepaliveTime(), unix.TCP_KEEPIDLE}, {k.GetKeepaliveInterval(), unix.TCP_KEEPINTVL}} {
		if o.v != nil {
			all = append(all, socketOption{level: unix.IPPROTO_TCP, name: o.name, value: native(o.v.GetValue()), what: "tcp_keepalive"})
		}
	}
	return all
}

// native is an int as setsockopt takes it.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// control returns what sets the options that belong before bind, nil when there are none.
func (s *socketOptions) control() func(network, address string, c syscall.RawConn) error {
	if len(s.keepalive)+len(s.options) == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error { return s.set(c, false) }
}

// set sets the options of one moment.
func (s *socketOptions) set(c syscall.RawConn, late bool) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		family, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			failed = fmt.Errorf("socket family: %w", err)
			return
		}
		for _, list := range [][]socketOption{s.keepalive, s.options} {
			for i := range list {
				o := &list[i]
				if o.late != late || (o.family != 0 && o.family != family) || (family == unix.AF_UNIX && o.level != unix.SOL_SOCKET) {
					continue
				}
				if err := unix.SetsockoptString(int(fd), o.level, o.name, string(o.value)); err != nil && failed == nil {
					failed = fmt.Errorf("%s: %w", o.what, err)
				}
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}
