package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
)

// fakeClient opens sessions whose streams the test ends by hand.
type fakeClient struct {
	fail    error
	streams func() int         // of many streams, that many; nil: of one at a time
	opened  func(*fakeSession) // called before Open returns; may be nil
}

func (f fakeClient) Open(_ context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	s := &fakeSession{c: c, owner: o, version: protocol.HTTP11}
	s.streams.Store(1)
	if f.streams != nil {
		s.version = protocol.HTTP2
		s.streams.Store(int64(f.streams()))
	}
	if f.opened != nil {
		f.opened(s)
	}
	return s, nil
}

type fakeSession struct {
	c       *conn.Conn
	owner   protocol.Owner
	version protocol.Version
	streams atomic.Int64
	used    bool
	dead    atomic.Bool           // what Alive is to say
	closed  atomic.Pointer[error] // cause, errNil for nil
}

var errNil = errors.New("closed without a cause")

func (s *fakeSession) RoundTrip(context.Context, *message.Request) (*message.Response, error) {
	s.used = true
	return &message.Response{Status: 200, Body: message.NoBody}, nil
}
func (s *fakeSession) Streams() int              { return int(s.streams.Load()) }
func (s *fakeSession) Free() int                 { return 1 }
func (s *fakeSession) Used() bool                { return s.used }
func (s *fakeSession) Conn() *conn.Conn          { return s.c }
func (s *fakeSession) Version() protocol.Version { return s.version }
func (s *fakeSession) Alive() bool               { return !s.dead.Load() }
func (s *fakeSession) Close(cause error) {
	if cause == nil {
		cause = errNil
	}
	s.closed.Store(&cause)
	_ = s.c.Close()
}

// fail ends the stream with the session.
func (s *fakeSession) fail(cause error) {
	s.owner.Gone(s, cause)
	s.owner.Freed(s)
}

// resize changes how many streams the session may carry.
func (s *fakeSession) resize(n int64) {
	s.streams.Store(n)
	s.owner.Resized(s)
}

// finish ends the stream well.
func (s *fakeSession) finish() { s.owner.Freed(s) }

const address = "10.0.0.1:80"

// A rig is a pool on a network in memory, with one host.
type rig struct {
	t       testing.TB
	net     *memory.Network
	via     Transport
	ln      net.Listener
	o       Options
	pool    *Pool
	stats   Stats
	host    HostStats
	breaker Breaker
	gauges  [4]stats.Gauge
}

func newRig(t testing.TB, change func(*Options, *rig)) *rig {
	r := &rig{t: t, net: memory.New()}
	r.limit(1024, 1024, 1024)
	r.o = Options{
		Client: fakeClient{}, Version: protocol.HTTP11, Network: r.net, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour,
		Breaker: func(int) *Breaker { return &r.breaker }, Stats: func(uint32) *Stats { return &r.stats },
	}
	r.listen()
	if change != nil {
		change(&r.o, r)
	}
	r.pool = New(&r.o, func() (string, string) { return "tcp", address }, &r.host, r.via)
	t.Cleanup(func() {
		r.pool.Close(ErrClosed)
		_ = r.ln.Close()
	})
	return r
}

func (r *rig) limit(connections, pending, requests uint32) {
	r.breaker.Connections.Init(connections, &r.gauges[0], nil, nil)
	r.breaker.Pending.Init(pending, &r.gauges[1], nil, nil)
	r.breaker.Requests.Init(requests, &r.gauges[2], nil, nil)
	r.breaker.Retries.Init(3, &r.gauges[3], nil, nil)
}

func (r *rig) listen() {
	ln, err := r.net.Listen(r.t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err != nil {
		r.t.Fatal(err)
	}
	r.ln = ln
}

// acquire must succeed.
func (r *rig) acquire() Lease {
	r.t.Helper()
	l, err := r.pool.Acquire(r.t.Context(), 0, 0)
	if err != nil {
		r.t.Fatalf("acquire: %v", err)
	}
	return l
}

func session(l Lease) *fakeSession { return l.Session.(*fakeSession) }

// expect compares a number with what it should be.
func (r *rig) expect(what string, got, want uint64) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s is %d, want %d", what, got, want)
	}
}

// balanced checks that nothing is left counted as under way.
func (r *rig) balanced() {
	r.t.Helper()
	r.expect("cx_active", uint64(r.stats.CxActive.Value()), 0)
	r.expect("host cx_active", uint64(r.host.CxActive.Value()), 0)
	r.expect("rq_pending_active", uint64(r.stats.RqPendingActive.Value()), 0)
	r.expect("connections of the breaker", uint64(r.breaker.Connections.Active()), 0)
	r.expect("pending of the breaker", uint64(r.breaker.Pending.Active()), 0)
	r.expect("requests of the breaker", uint64(r.breaker.Requests.Active()), 0)
}

var errBroken = io.ErrUnexpectedEOF
