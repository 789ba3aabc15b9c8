package pool

import (
	"context"

	"github.com/weftproxy/weft/conn"
)

// A Raw is a connection without a protocol on it, as tcp_proxy uses.
type Raw struct{ l *link }

// Connect dials a connection for the caller alone; it blocks for at most connect_timeout, or until ctx ends. downstream is the connection
// that it is opened for, nil for none; alpn is what TLS offers where the configuration has nothing. The error is a *Error.
func (p *Pool) Connect(ctx context.Context, lane uint32, priority int, downstream *conn.Info, alpn []string) (*Raw, error) {
	via := p.via
	via.Options.Downstream, via.Options.Fallback = downstream, alpn
	p.mu.Lock()
	have := len(p.live) + len(p.dials)
	may := !p.closed && p.mayConnect(lane, priority, have)
	var closed error
	if p.closed {
		closed = p.shutError()
	}
	p.mu.Unlock()
	switch {
	case closed != nil:
		return nil, closed
	case !may:
		return nil, &Error{Kind: Overflow, Address: p.address()}
	}
	l, err := p.connect(ctx, lane, priority, via)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.unlock()
	l.streams, l.tracked, l.closing = 1, true, true
	p.list(l)
	if p.closed {
		l.streams, l.why = 0, ErrClosed
		p.end(l, endLocal)
		return nil, &Error{Kind: Closed, Address: p.address(), Cause: ErrClosed}
	}
	return &Raw{l}, nil
}

// Conn returns the connection. It is closed by Close of the Raw, not by its own.
func (r *Raw) Conn() *conn.Conn { return r.l.conn }

// Close closes the connection, on the goroutine that reads from it. remote says that the host ended it.
func (r *Raw) Close(remote bool) {
	p := r.l.pool
	p.mu.Lock()
	defer p.unlock()
	if r.l.dead {
		return
	}
	how := endLocal
	if remote {
		how = endRemote
	}
	p.end(r.l, how)
	p.growAll()
}
