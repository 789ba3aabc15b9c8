package forward

import (
	"errors"
	"io"
	"sync"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/pool"
)

// terminates reports whether the exchange is a CONNECT whose payload goes upstream as plain bytes (connect_config).
func (f *flight) terminates() bool {
	return f.x.Route.ConnectConfig && f.x.Request.Upgrade == "connect"
}

// connect opens a connection to the host and answers 200: from there on both bodies are a tunnel.
func (f *flight) connect(host *upstream.Host) (*message.Response, error) {
	x := f.x
	raw, err := host.Connect(f.ctx, x.Conn, x.Lane, x.Route.Priority)
	if err != nil {
		f.log()
		return nil, err
	}
	c := raw.Conn()
	f.begin(c, false, "")
	t := &tunnel{raw: raw, conn: c, up: x.Request.Body, watch: scope.OnCancel(f.ctx, c)}
	t.pump.Go(t.send)
	x.Record.UpstreamFirst = x.Record.UpstreamBegan
	x.At(exchange.Receive)
	return &message.Response{Status: 200, Length: -1, Body: t, Tunnel: true}, nil
}

// A tunnel is a connection as the body of a response. What the request's body says goes into it.
type tunnel struct {
	raw   *pool.Raw
	conn  *conn.Conn
	up    message.Body
	watch scope.Registration
	pump  sync.WaitGroup // send
	buf   []byte         // pooled; nil before the first Next
	ended bool           // the host ended its side
	once  sync.Once
}

// send copies the request's body into the connection. It ends with the body or the connection; Close waits for it.
func (t *tunnel) send() {
	for {
		p, err := t.up.Next()
		if err == io.EOF {
			_ = t.conn.CloseWrite() // a connection that cannot is closed by the other direction's end
			return
		}
		if err == nil {
			_, err = t.conn.Write(p)
		}
		if err != nil {
			t.conn.Wake(err)
			return
		}
	}
}

// Next implements message.Body.
func (t *tunnel) Next() ([]byte, error) {
	if t.buf == nil {
		t.buf = conn.GetBuffer(conn.SmallBuffer)
	}
	n, err := t.conn.Read(t.buf)
	if n > 0 {
		return t.buf[:n], nil
	}
	t.ended = errors.Is(err, io.EOF)
	return nil, err
}

// Ready implements message.Body: what a tunnel carries is passed on at once.
func (t *tunnel) Ready() bool { return false }

// Trailer implements message.Body.
func (t *tunnel) Trailer() *message.Header { return nil }

// Close implements message.Body.
func (t *tunnel) Close(cause error) {
	t.once.Do(func() {
		if cause == nil {
			cause = message.ErrBodyClosed
		}
		t.watch.Stop()
		t.conn.Wake(cause)
		t.up.Close(cause)
		t.pump.Wait()
		if t.buf != nil {
			conn.PutBuffer(t.buf)
			t.buf = nil
		}
		t.raw.Close(t.ended)
	})
}
