package pool

import (
	"context"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/transport/socket"
)

// A Transport is what connections get between the dial and the first byte of their protocol. The zero Transport leaves them as they are.
type Transport struct {
	Socket  socket.Client // nil: plain
	Options socket.Options
}

// Handshake makes c one of this transport. It blocks until that is done, has failed, or ctx has ended, whose cause it returns then. It
// leaves c open.
func (t Transport) Handshake(ctx context.Context, c *conn.Conn) error {
	if t.Socket == nil {
		return nil
	}
	if ctx.Done() == nil {
		return t.Socket.Handshake(c, t.Options)
	}
	stop := context.AfterFunc(ctx, func() { c.Wake(context.Cause(ctx)) })
	err := t.Socket.Handshake(c, t.Options)
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}
