package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/upstream"
	"github.com/weftproxy/weft/upstream/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A handler is an upstream: it answers one request. It may block until ctx ends.
type handler func(ctx context.Context, q *received) (*message.Response, error)

// received is a request as an upstream sees it.
type received struct {
	*message.Request
	host string // the address it was sent to
	try  int    // of all requests to the fake network, from 1
	used bool   // the connection had served before
}

// body reads the request's body to its end.
func (q *received) body() string {
	b, err := message.ReadAll(q.Body, 1<<20)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

// A fakeNet is a network of upstreams without bytes: it refuses connections or hands requests to the handler.
type fakeNet struct {
	mu       sync.Mutex
	handle   handler
	dial     map[string]error // by address
	requests []seen
	quiet    bool            // note no requests
	real     bool            // dial the loopback network
	codec    protocol.Client // speaks there; nil: nothing but tunnels
}

type seen struct{ host, path, authority string }

func (n *fakeNet) Listen(context.Context, transport.ListenOptions) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}

func (n *fakeNet) Dial(ctx context.Context, o transport.DialOptions) (net.Conn, error) {
	n.mu.Lock()
	err := n.dial[o.Address]
	n.mu.Unlock()
	if err == errHang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if n.real {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", o.Address)
	}
	a, b := net.Pipe()
	b.Close()
	return addressed{a, o.Address}, nil
}

var (
	errHang    = errors.New("the host does not answer")
	errRefused = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
)

type addressed struct {
	net.Conn
	address string
}

// Open implements protocol.Client.
func (n *fakeNet) Open(ctx context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	if n.codec != nil {
		return n.codec.Open(ctx, c, o)
	}
	return &session{net: n, c: c, owner: o, host: c.Conn.(addressed).address}, nil
}

func (n *fakeNet) seen() []seen {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]seen(nil), n.requests...)
}

type session struct {
	net   *fakeNet
	c     *conn.Conn
	owner protocol.Owner
	host  string
	used  bool
	body  doneBody
	q     received
}

func (s *session) RoundTrip(ctx context.Context, r *message.Request) (*message.Response, error) {
	n := s.net
	n.mu.Lock()
	if !n.quiet {
		n.requests = append(n.requests, seen{s.host, r.Path, r.Authority})
	}
	s.q = received{r, s.host, len(n.requests), s.used}
	n.mu.Unlock()
	s.used = true
	resp, err := n.handle(ctx, &s.q)
	if err != nil {
		if cause := scope.Cause(ctx); cause != nil {
			err = cause
		}
		r.Body.Close(err)
		s.owner.Gone(s, err)
		s.owner.Freed(s)
		return nil, err
	}
	s.body = doneBody{Body: resp.Body, s: s, q: r}
	resp.Body = &s.body
	return resp, nil
}

func (s *session) Streams() int              { return 1 }
func (s *session) Free() int                 { return 1 }
func (s *session) Used() bool                { return s.used }
func (s *session) Conn() *conn.Conn          { return s.c }
func (s *session) Version() protocol.Version { return protocol.HTTP11 }
func (s *session) Close(error)               { s.c.Close() }

// doneBody gives the session back when the body is closed.
type doneBody struct {
	message.Body
	s    *session
	q    *message.Request
	done bool
	err  error
}

func (b *doneBody) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err != nil && err != io.EOF {
		b.err = err
	}
	return p, err
}

func (b *doneBody) Close(cause error) {
	b.Body.Close(cause)
	if b.done {
		return
	}
	b.done = true
	if b.err != nil || cause != nil {
		b.q.Body.Close(cause)
		b.s.owner.Gone(b.s, errors.Join(b.err, cause))
	}
	b.s.owner.Freed(b.s)
}

// answer is a response with a body.
func answer(status int, body string, headers ...string) *message.Response {
	r := &message.Response{Status: status, Length: int64(len(body)), Body: message.NewBytes([]byte(body))}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// wait blocks until ctx ends.
func wait(ctx context.Context) (*message.Response, error) {
	<-ctx.Done()
	return nil, scope.Cause(ctx)
}

// A fixture is a router with one cluster, "c".
type fixture struct {
	t      testing.TB
	net    *fakeNet
	store  *stats.Store
	router *Router
	table  *upstream.Table
}

func newFixture(t testing.TB, cfg *routerv3.Router, h handler, hosts ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, net: &fakeNet{handle: h, dial: map[string]error{}}, store: stats.NewStore(stats.Options{})}
	if len(hosts) == 0 {
		hosts = []string{"10.0.0.1:80"}
	}
	c := newCluster(f, "c", limits{}, hosts...)
	f.table = upstream.NewTable(c)
	f.router = f.build(cfg)
	return f
}

func (f *fixture) build(cfg *routerv3.Router) *Router {
	f.t.Helper()
	env := &extension.Env{Stats: f.store, HTTP: f.store.Scope("http.in."), Problems: resource.NewProblems("test"), Path: "router"}
	r, err := NewRouter(env, cfg)
	if err != nil || env.Problems.HasErrors() {
		f.t.Fatalf("NewRouter: %v %v", err, env.Problems.All())
	}
	return r.(*Router)
}

// add replaces clusters, or adds them.
func (f *fixture) add(c ...*upstream.Cluster) {
	for _, old := range f.table.All() {
		c = append([]*upstream.Cluster{old}, c...)
	}
	f.table = upstream.NewTable(c...)
}

// limits of a cluster's circuit breakers; 0 is the default, -1 is 0.
type limits struct{ requests, pending, connections, retries int }

// A call is one exchange for the router.
type call struct {
	f *fixture
	x *exchange.Exchange
	s *scope.Scope
}

var errRouteTimeout = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Status: 504, Body: "upstream request timeout",
	Flag: observe.UT, Details: "response_timeout"}

// call prepares a GET of /path on a route to cluster c that edit changes.
func (f *fixture) call(edit func(x *exchange.Exchange)) *call {
	c := &call{f: f, x: &exchange.Exchange{}, s: &scope.Scope{}}
	c.s.Init(func(d scope.Due) error {
		if d == scope.Response {
			return errRouteTimeout
		}
		return nil
	})
	c.reset(edit)
	return c
}

// reset makes the call ready for another exchange.
func (c *call) reset(edit func(x *exchange.Exchange)) {
	c.s.Begin(context.Background())
	q := &message.Request{Method: "GET", Scheme: "http", Authority: "example.com", Path: "/path", Body: message.NoBody}
	x := c.x
	x.Begin(q, &conn.Info{}, nil)
	x.Scope, x.Clusters = c.s, c.f.table
	x.Record.Start = scope.Now()
	r := &exchange.Route{VirtualHost: "vh", Timeout: 15 * time.Second, BufferLimit: -1, Target: &exchange.Target{Cluster: "c"}}
	x.Take(r, []exchange.Filter{c.f.router})
	if edit != nil {
		edit(x)
	}
	if q.Length == 0 {
		x.RequestComplete(scope.Now())
	}
}

// run passes the exchange through the router and reads the response, as the connection manager would.
func (c *call) run() result {
	resp, err := c.x.Run(c.s)
	if err != nil {
		e := exchange.AsError(err)
		if c.s.Err() != nil {
			c.s.Revive()
		}
		resp = c.x.Reply(err)
		resp.Local = e
	}
	body, berr := message.ReadAll(resp.Body, 1<<20)
	resp.Body.Close(nil)
	c.s.End()
	c.s.Close()
	return result{resp, string(body), berr, err}
}

// A result is what the downstream gets.
type result struct {
	*message.Response
	body   string
	broken error // the body broke off
	err    error // of the exchange
}

func (c *call) flags() string { return c.x.Record.Flags.String() }

// check compares counters of the cluster with what is wanted: "upstream_rq_total 1 upstream_rq_503 1".
func (f *fixture) check(scope, want string) {
	f.t.Helper()
	words := strings.Fields(want)
	for i := 0; i+1 < len(words); i += 2 {
		n, _ := f.store.Value(scope + words[i])
		if got := strconv.FormatInt(n, 10); got != words[i+1] {
			f.t.Errorf("%s%s = %s, want %s", scope, words[i], got, words[i+1])
		}
	}
}

// retrying is the limit of retries under way in the cluster.
func (f *fixture) retrying() *pool.Limit { return &f.table.Find("c").Breaker(0).Retries }
