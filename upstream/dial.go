package upstream

import (
	"context"
	"net"
	"sync"

	"github.com/weftproxy/weft/upstream/pool"
)

// DialHTTP2 opens a connection for a client of the process itself that speaks HTTP/2, such as that of a control plane. It is as all connections
// to the host are: its transport socket has shaken hands, the cluster's limits and statistics count it. The caller closes it.
func (h *Host) DialHTTP2(ctx context.Context) (net.Conn, error) { return h.dial(ctx, alpnHTTP2) }

// DialHTTP1 is DialHTTP2 for a client that speaks HTTP/1.1.
func (h *Host) DialHTTP1(ctx context.Context) (net.Conn, error) { return h.dial(ctx, alpnHTTP1) }

func (h *Host) dial(ctx context.Context, alpn []string) (net.Conn, error) {
	raw, err := h.Pool().Connect(ctx, 0, 0, nil, alpn)
	if err != nil {
		return nil, err
	}
	return &dialed{Conn: raw.Conn(), raw: raw}, nil
}

// A dialed is a connection that any goroutine may close, while others read and write.
type dialed struct {
	net.Conn // the Raw's
	raw      *pool.Raw

	reading, writing sync.Mutex // held while somebody does
	once             sync.Once
}

// Read implements net.Conn.
func (d *dialed) Read(p []byte) (int, error) {
	d.reading.Lock()
	defer d.reading.Unlock()
	return d.Conn.Read(p)
}

// Write implements net.Conn.
func (d *dialed) Write(p []byte) (int, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.Conn.Write(p)
}

// Close implements net.Conn. Reads and writes under way end with net.ErrClosed.
func (d *dialed) Close() error {
	d.once.Do(func() {
		d.raw.Conn().Wake(net.ErrClosed)
		d.reading.Lock()
		defer d.reading.Unlock()
		d.writing.Lock()
		defer d.writing.Unlock()
		d.raw.Close(false)
	})
	return nil
}
