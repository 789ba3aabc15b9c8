package conn

import (
	"net"
	"net/netip"
	"time"
)

// Info is what is known about a connection and its peer. Listener filters and the handshake fill it before the first byte of
// the protocol is read; after that it is immutable.
type Info struct {
	ID       uint64 // unique within the process
	Began    time.Time
	Listener string // name of the listener, "" upstream
	Chain    string // name of the filter chain that matched

	Local        netip.AddrPort // where the peer connected to: restored by listener filters; zero for unix sockets
	DirectLocal  netip.AddrPort // the socket's own local address
	Remote       netip.AddrPort // the peer: as told by PROXY protocol where that is used; zero for unix sockets
	DirectRemote netip.AddrPort // the socket's peer
	LocalPath    string         // unix sockets: the path listened on
	Network      string         // "tcp" or "unix"
	Restored     bool           // Local was restored by a listener filter (original destination, PROXY protocol)

	ServerName        string        // SNI
	TransportProtocol string        // "raw_buffer" or "tls"
	ALPN              []string      // application protocols the peer offered
	JA3, JA4          string        // fingerprints of the peer's ClientHello, where tls_inspector was asked for them
	TLS               *TLS          // nil when the connection is not TLS
	TransportFailure  string        // why the handshake failed, for DOWNSTREAM_TRANSPORT_FAILURE_REASON; "" where it did not
	HandshakeDuration time.Duration // from the beginning of the connection to the end of its handshake; 0 without one

	Metadata  map[string]map[string]string // dynamic metadata of listener filters: namespace → key → value
	ProxyTLVs []byte                       // extensions of the peer's PROXY protocol header that are to be passed on, as they go over the wire
}

// AddrPort turns the address of a TCP or UDP socket into a netip.AddrPort with IPv4-mapped addresses unmapped; other addresses
// give the zero value.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	case interface{ AddrPort() netip.AddrPort }:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
