package listener

import (
	"net"
	"net/netip"
	"reflect"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftproxy/weft/resource"
)

// An address is one place to listen on, with the options of its socket. Immutable.
type address struct {
	network string // "tcp", "tcp4", "tcp6" or "unix"
	address string // host:port, or the path of a unix socket
	mode    uint32 // permissions of a unix socket; 0: as the umask says
	sockets socketOptions
}

// name is the address as Envoy prints it.
func (a *address) name() string { return a.address }

// same reports whether a socket for a can serve b.
func (a *address) same(b *address) bool { return reflect.DeepEqual(a, b) }

// compileAddresses compiles address and additional_addresses.
func compileAddresses(cfg *listenerv3.Listener, at resource.Path, p *resource.Problems) []address {
	if cfg.GetAddress() == nil {
		p.Errorf(at.Field("address"), "", "a listener needs an address")
		return nil
	}
	common := compileSocketOptions(cfg, at, p)
	var all []address
	if a, ok := compileAddress(cfg.GetAddress(), at.Field("address"), p); ok {
		a.sockets = common
		all = append(all, a)
	}
	for i, more := range cfg.GetAdditionalAddresses() {
		here := at.Field("additional_addresses").Index(i)
		a, ok := compileAddress(more.GetAddress(), here.Field("address"), p)
		if !ok {
			continue
		}
		a.sockets = common
		if o := more.GetSocketOptions(); o != nil {
			a.sockets.options = compileOptions(o.GetSocketOptions(), here.Field("socket_options").Field("socket_options"), p)
		}
		if k := more.GetTcpKeepalive(); k != nil {
			a.sockets.keepalive = compileKeepalive(k)
		}
		all = append(all, a)
	}
	seen := map[string]bool{}
	for i := range all {
		_, port, _ := net.SplitHostPort(all[i].address)
		if seen[all[i].address] && port != "0" {
			p.Errorf(at.Field("additional_addresses"), "", "address %s is there twice", all[i].address)
		}
		seen[all[i].address] = true
	}
	return all
}

func compileAddress(cfg *corev3.Address, at resource.Path, p *resource.Problems) (address, bool) {
	switch a := cfg.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		return compileSocketAddress(a.SocketAddress, at.Field("socket_address"), p)
	case *corev3.Address_Pipe:
		return address{network: "unix", address: a.Pipe.GetPath(), mode: a.Pipe.GetMode()}, true
	default:
		p.Errorf(at, "use socket_address or pipe", "not an address that can be listened on")
		return address{}, false
	}
}

func compileSocketAddress(cfg *corev3.SocketAddress, at resource.Path, p *resource.Problems) (address, bool) {
	ip, err := netip.ParseAddr(cfg.GetAddress())
	if err != nil {
		p.Errorf(at.Field("address"), "listeners take IP addresses, 0.0.0.0 or :: for all", "malformed IP address: %s", cfg.GetAddress())
		return address{}, false
	}
	if cfg.GetPortValue() > 65535 {
		p.Errorf(at.Field("port_value"), "", "%d is not a port", cfg.GetPortValue())
		return address{}, false
	}
	a := address{network: "tcp4", address: net.JoinHostPort(ip.String(), strconv.Itoa(int(cfg.GetPortValue())))}
	if ip.Is6() {
		a.network = "tcp6"
		if cfg.GetIpv4Compat() {
			a.network = "tcp"
		}
	}
	return a, true
}
