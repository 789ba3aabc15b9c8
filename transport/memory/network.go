package memory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/weftproxy/weft/transport"
)

// A Network is a set of listeners that can be dialled by address. Addresses are ip:port, with port 0 for any free one, or the
// path of a unix socket. It resolves no names.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener // by network and address; guarded by mu, like all below
	hanging   map[string]struct{}  // addresses whose connections are never established
	hung      chan struct{}        // closed and replaced when hanging changes
	port      uint16               // the last one given out
	dials     map[string]int
}

// New returns an empty network.
func New() *Network {
	return &Network{listeners: map[string]*listener{}, hanging: map[string]struct{}{}, hung: make(chan struct{}), port: 32767, dials: map[string]int{}}
}

// Hang makes dials to an address wait, until Answer or the end of their context, as if packets got lost.
func (n *Network) Hang(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hanging[address] = struct{}{}
}

// Answer undoes Hang. Dials that wait go on.
func (n *Network) Answer(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hanging, address)
	close(n.hung)
	n.hung = make(chan struct{})
}

// Dials returns how often an address was dialled.
func (n *Network) Dials(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[address]
}

// Listen implements transport.Network.
func (n *Network) Listen(ctx context.Context, o transport.ListenOptions) (net.Listener, error) {
	addr, err := n.listenAddr(o.Network, o.Address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: o.Network, Err: err}
	}
	l := &listener{network: n, addr: addr, queue: make(chan *Conn, 128), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Port == 0 {
		for n.listeners[key(addr)] != nil || tcp.Port == 0 {
			n.port++
			tcp.Port = int(n.port)
		}
	}
	if n.listeners[key(addr)] != nil {
		return nil, &net.OpError{Op: "listen", Net: o.Network, Addr: addr, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	n.listeners[key(addr)] = l
	return l, nil
}

func (n *Network) listenAddr(network, address string) (net.Addr, error) {
	if network == "unix" {
		return &net.UnixAddr{Name: address, Net: "unix"}, nil
	}
	return parse(address)
}

// parse reads ip:port.
func parse(address string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", address, err)
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(number))), nil
}

func key(a net.Addr) string { return a.Network() + " " + a.String() }

// Dial implements transport.Network. A dial without a listener is refused, as by a host that is there.
func (n *Network) Dial(ctx context.Context, o transport.DialOptions) (net.Conn, error) {
	fail := func(addr net.Addr, err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: o.Network, Addr: addr, Err: err}
	}
	var remote net.Addr = &net.UnixAddr{Name: o.Address, Net: "unix"}
	var local net.Addr = &net.UnixAddr{Net: "unix"}
	if o.Network != "unix" {
		tcp, err := parse(o.Address)
		if err != nil {
			return fail(nil, err)
		}
		remote = tcp
		if local, err = n.localAddr(tcp, o.Local); err != nil {
			return fail(remote, err)
		}
	}
	if err := n.arrive(ctx, o.Address); err != nil {
		return fail(remote, err)
	}
	l := n.find(remote)
	if l == nil {
		return fail(remote, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	here, there := pair(local, remote)
	select {
	case l.queue <- there:
		return here, nil
	case <-l.closed:
		return fail(remote, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case <-ctx.Done():
		return fail(remote, context.Cause(ctx))
	}
}

// localAddr returns the address a connection comes from.
func (n *Network) localAddr(remote *net.TCPAddr, wanted string) (net.Addr, error) {
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if remote.AddrPort().Addr().Is6() {
		ip = netip.IPv6Loopback()
	}
	port := uint16(0)
	if wanted != "" {
		a, err := parse(wanted)
		if err != nil {
			return nil, err
		}
		ip, port = a.AddrPort().Addr(), uint16(a.Port)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		n.port = max(n.port+1, 1024)
		port = n.port
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port)), nil
}

// arrive waits while the address hangs.
func (n *Network) arrive(ctx context.Context, address string) error {
	n.mu.Lock()
	n.dials[address]++
	n.mu.Unlock()
	for {
		n.mu.Lock()
		_, hangs := n.hanging[address]
		changed := n.hung
		n.mu.Unlock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !hangs {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// find returns who listens on an address, or on all addresses of its port.
func (n *Network) find(remote net.Addr) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[key(remote)]; l != nil {
		return l
	}
	_, port, err := net.SplitHostPort(remote.String())
	if err != nil || strings.HasPrefix(remote.Network(), "unix") {
		return nil
	}
	for _, any := range []string{"0.0.0.0:", "[::]:"} {
		if l := n.listeners["tcp "+any+port]; l != nil {
			return l
		}
	}
	return nil
}

// A listener hands out the server ends of connections.
type listener struct {
	network *Network
	addr    net.Addr
	queue   chan *Conn
	closed  chan struct{}
	once    sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.err(net.ErrClosed)
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, l.err(net.ErrClosed)
	}
}

func (l *listener) err(err error) error {
	return &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// Close implements net.Listener. Connections that nobody has accepted are reset.
func (l *listener) Close() error {
	err := l.err(net.ErrClosed)
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, key(l.addr))
		l.network.mu.Unlock()
		close(l.closed)
		err = nil
		for {
			select {
			case c := <-l.queue:
				err = errors.Join(err, c.SetLinger(0), c.Close())
			default:
				return
			}
		}
	})
	return err
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
