package auto

import (
	"context"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// A Client opens each session with the codec that the TLS handshake has agreed on: HTTP/2 for h2, HTTP/1 for http/1.1. Safe for concurrent
// use.
type Client struct{ h1, h2, other protocol.Client } // immutable

// NewClient returns a client of HTTP/1 and HTTP/2. other is for connections on which neither was agreed on.
func NewClient(h1, h2, other protocol.Client) *Client { return &Client{h1, h2, other} }

// Open implements protocol.Client.
func (cl *Client) Open(ctx context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	if tls := c.Info().TLS; tls != nil {
		switch tls.ALPN {
		case "h2":
			return cl.h2.Open(ctx, c, o)
		case "http/1.1":
			return cl.h1.Open(ctx, c, o)
		}
	}
	return cl.other.Open(ctx, c, o)
}
