package extension

import (
	"context"

	"github.com/weftproxy/weft/conn"
)

// An Inspector is a listener filter at work: it peeks at, or consumes, the first bytes of a connection and notes in Info what they
// say. An error closes the connection. It serves many connections at once.
type Inspector interface {
	Inspect(ctx context.Context, c *conn.Conn) error
}
