package tcp

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/weftproxy/weft/transport"
)

// Network listens and dials on the host's sockets. The zero Network is ready to use; it has no state.
type Network struct{}

// New returns the host's network.
func New() *Network { return &Network{} }

// Listen implements transport.Network. "tcp" on an unspecified IPv6 address takes IPv4 too, "tcp6" does not. The error names the
// address.
func (*Network) Listen(ctx context.Context, o transport.ListenOptions) (net.Listener, error) {
	if o.Network == "unix" {
		return listenUnix(ctx, o)
	}
	lc := net.ListenConfig{KeepAlive: -1, Control: func(network, address string, c syscall.RawConn) error {
		if o.ReusePort {
			if err := setReusePort(c); err != nil {
				return fmt.Errorf("SO_REUSEPORT: %w", err)
			}
		}
		if o.Control != nil {
			return o.Control(network, address, c)
		}
		return nil
	}}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, o.Network, o.Address)
	if err != nil {
		return nil, err // net says "listen tcp 127.0.0.1:80: bind: permission denied"
	}
	if err := setBacklog(ln, o.Backlog); err != nil {
		_ = ln.Close() // the error to tell is the other
		return nil, fmt.Errorf("listen %s %s: backlog %d: %w", o.Network, o.Address, o.Backlog, err)
	}
	return ln, nil
}

// Dial implements transport.Network. TCP_NODELAY is on, keep-alive is off unless Control turns it on. The error names the address.
func (*Network) Dial(ctx context.Context, o transport.DialOptions) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: o.Control, FallbackDelay: -1}
	d.SetMultipathTCP(false)
	if o.Local != "" && o.Network != "unix" {
		local, err := net.ResolveTCPAddr("tcp", o.Local)
		if err != nil {
			return nil, fmt.Errorf("dial %s %s: local address %s: %w", o.Network, o.Address, o.Local, err)
		}
		d.LocalAddr = local
	}
	return d.DialContext(ctx, o.Network, o.Address)
}
