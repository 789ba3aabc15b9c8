package socket

import (
	"github.com/weftproxy/weft/conn"
)

// A Server is the transport socket of a filter chain. Immutable but for what it keeps behind atomic pointers; safe for concurrent use.
type Server interface {
	// Handshake makes c one of this transport: it sets c's layer and what is known of the peer (Info.TLS, Info.TransportFailure). What
	// is buffered in c is the beginning of the peer's bytes. It blocks until that is done, or has failed, or c is woken, and leaves c open.
	Handshake(c *conn.Conn) error
}

// A Client is the transport socket of connections to upstream hosts. Like a Server it is shared.
type Client interface {
	// Handshake is Server's for a connection that was just dialled.
	Handshake(c *conn.Conn, o Options) error
	// Features says what choosing a pool and a codec depends on.
	Features() Features
}

// Options are what a Client has to know of one connection besides its configuration.
type Options struct {
	SNI        string     // overrides the configured server name; "" does not
	SANs       []string   // the peer's certificate has to have one of these names as well; none: not asked for
	ALPN       []string   // overrides the configured protocols; nil does not
	Fallback   []string   // protocols to offer where neither ALPN nor the configuration has any
	HostName   string     // of the endpoint, for auto_host_sni; "" for none
	Downstream *conn.Info // of the connection that this one is opened for; nil where it is opened for nobody in particular (health checks)
}

// Features are what a Client does that others have to know.
type Features struct {
	Secure  bool     // what is sent is encrypted: requests have the scheme https
	ALPN    []string // the configured protocols
	PerPeer bool     // connections depend on Options.Downstream and cannot be shared by requests of different downstream connections
}
