package auto

import (
	"context"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// preface begins every HTTP/2 connection (RFC 9113 section 3.4) and is nothing that HTTP/1 could begin with. What follows these bytes
// is left to the HTTP/2 codec.
const preface = "PRI * HTTP/2"

// Options bound the wait for the first bytes. They are those of the codecs.
type Options struct {
	IdleTimeout    time.Duration // before the first byte; 0: none
	HeadersTimeout time.Duration // from the first byte until it is clear which version it is; 0: IdleTimeout
	MaxDuration    time.Duration // max_connection_duration; 0: none
	ParkAfter      time.Duration // without a byte for this long, a socket is given back with conn.ErrParked; 0: never
}

// A Server hands each connection to one of two codecs. Safe for concurrent use.
type Server struct {
	h1, h2 protocol.Server // immutable
	o      Options         // immutable
}

// New returns a server of HTTP/1 and HTTP/2.
func New(h1, h2 protocol.Server, o Options) *Server { return &Server{h1, h2, o} }

// Serve implements protocol.Server. Where TLS has negotiated a protocol, that counts; else the first bytes do. It waits for them within the
// limits of Options: protocol.ErrIdleTimeout without any byte, protocol.ErrHeadersTimeout in the middle of what may become a preface. A
// connection that was served before is HTTP/1: HTTP/2 keeps its connections until they end.
func (s *Server) Serve(ctx context.Context, c *conn.Conn, h protocol.StreamHandler) error {
	if c.Served > 0 {
		return s.h1.Serve(ctx, c, h)
	}
	if tls := c.Info().TLS; tls != nil && tls.ALPN != "" {
		if tls.ALPN == "h2" {
			return s.h2.Serve(ctx, c, h)
		}
		return s.h1.Serve(ctx, c, h)
	}
	codec, err := s.sniff(ctx, c)
	if err != nil {
		return err
	}
	return codec.Serve(ctx, c, h)
}

// sniff returns the codec that the first bytes are for. It leaves them in the connection's buffer.
func (s *Server) sniff(ctx context.Context, c *conn.Conn) (protocol.Server, error) {
	if codec := s.choose(c.Buffered()); codec != nil {
		return codec, nil
	}
	if c.IdleSince == 0 && !c.Draining() && c.TryFill() == nil { // the first bytes often come with the connection
		if codec := s.choose(c.Buffered()); codec != nil {
			return codec, nil
		}
	}
	return s.wait(ctx, c)
}

// choose returns the codec for a connection that begins with b, nil where more bytes are needed.
func (s *Server) choose(b []byte) protocol.Server {
	n := min(len(b), len(preface))
	switch {
	case string(b[:n]) != preface[:n]:
		return s.h1
	case n == len(preface):
		return s.h2
	}
	return nil
}
