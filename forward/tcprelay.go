package forward

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
)

// A tcpLane is one direction of a connection.
type tcpLane struct {
	t        *tcpFlight
	from, to *conn.Conn
	up       bool // towards the upstream
	bytes    *stats.Counter
}

// relay forwards both ways until both sides have said all, or one fails.
func (t *tcpFlight) relay() error {
	up := t.raw.Conn()
	t.scope.Watch(up)
	defer t.scope.Unwatch(up)
	if err := t.scope.Err(); err != nil {
		return err // it ended before up was watched
	}
	t.moved.Store(scope.Now())
	if idle := t.p.cfg.idle; idle > 0 {
		t.scope.Arm(scope.Idle, scope.Now()+int64(idle))
	}
	if t.p.cfg.logConnected {
		t.log(observe.TCPUpstreamConnected)
	}
	stop := t.logEvery(t.p.cfg.logInterval)
	back := tcpLane{t: t, from: up, to: t.c, bytes: &t.stats.TxBytes}
	var backErr error
	t.pump.Go(func() { backErr = back.run() }) // ends with its direction, or when the other one fails
	forth := tcpLane{t: t, from: t.c, to: up, up: true, bytes: &t.stats.RxBytes}
	err := forth.run()
	t.pump.Wait()
	stop()
	if backErr == nil {
		t.record.UpstreamDone = scope.Now()
	}
	if cause := t.scope.Err(); cause != nil {
		return cause
	}
	return errors.Join(err, backErr)
}

// run forwards one direction to its end. A failure ends the other direction as well.
func (l *tcpLane) run() error {
	err := l.copy()
	switch {
	case err == io.EOF:
		_ = l.to.CloseWrite() // where it fails the other direction sees why
		return nil
	case errors.Is(err, syscall.EPIPE):
		return err // the receiver had closed: what it sent before is still on its way in the other direction
	case errors.Is(err, syscall.ECONNRESET):
		l.noteReset(err)
	}
	l.t.scope.Cancel(err)
	return err
}

// noteReset notes who sent a reset: a failed read tells of the side that is read from, a failed write of the other.
func (l *tcpLane) noteReset(err error) {
	side := uint32(resetUp)
	reading := !errors.Is(err, errTCPWrite)
	if reading == l.up {
		side = resetDown
	}
	l.t.reset.CompareAndSwap(0, side)
}

// errTCPWrite marks the errors of writing.
var errTCPWrite = errors.New("tcp_proxy: write")

// tcpWriteError is a failed write.
type tcpWriteError struct{ error }

func (e tcpWriteError) Is(target error) bool { return target == errTCPWrite }
func (e tcpWriteError) Unwrap() error        { return e.error }

// copy forwards what has been read already, then splices where both ends are sockets, or copies.
func (l *tcpLane) copy() error {
	if err := l.flush(); err != nil {
		return err
	}
	if l.from.Raw() != nil && l.to.Raw() != nil && !l.from.Layered() && !l.to.Layered() {
		if err := l.splice(); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for {
		if err := l.from.Fill(); err != nil {
			return err
		}
		full := len(l.from.Buffered()) >= conn.SmallBuffer
		if err := l.flush(); err != nil {
			return err
		}
		if full {
			l.from.Grow(conn.LargeBuffer)
		}
		if err := l.drained(); err != nil {
			return err
		}
	}
}

// flush forwards what is buffered.
func (l *tcpLane) flush() error {
	b := l.from.Buffered()
	if len(b) == 0 {
		return nil
	}
	n, err := l.to.Write(b)
	l.count(n)
	l.from.Discard(n)
	l.from.Release()
	if err != nil {
		return tcpWriteError{err}
	}
	return nil
}

// count counts bytes that were forwarded.
func (l *tcpLane) count(n int) {
	l.bytes.Add(uint64(n))
	l.t.moved.Store(scope.Now())
	if l.up {
		l.t.in.Add(uint64(n))
	} else {
		l.t.out.Add(uint64(n))
	}
}

// drained ends the connection when check_drain_close asks for it and the listener or the process drains.
func (l *tcpLane) drained() error {
	p := l.t.p
	if !p.cfg.checkDrain || !(l.t.c.Draining() || p.drain.Draining() || p.drain.Failed()) {
		return nil
	}
	return conn.ErrDraining
}

// logEvery writes periodic access log entries until stop is called.
func (t *tcpFlight) logEvery(interval time.Duration) (stop func()) {
	if interval <= 0 || len(t.p.cfg.logs) == 0 {
		return func() {}
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.log(observe.TCPPeriodic)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// woken replaces the error of an expired deadline by the cause for which the connection was woken.
func woken(c *conn.Conn, err error) error {
	if cause := c.Woken(); cause != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return cause
	}
	return err
}
