package dispatch

import (
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
)

// A logbook keeps what access logs are told.
type logbook struct {
	format *format.Format
	lines  []string
}

func (l *logbook) Log(e *observe.Entry) { l.lines = append(l.lines, string(l.format.Append(nil, e))) }
func (l *logbook) Close() error         { return nil }

// A bench is a dispatcher without a codec, whose last filter is a function.
type bench struct {
	*Dispatcher
	st  *Stats
	log logbook
}

// last is the last filter.
type last func(ctx context.Context, x *exchange.Exchange) (*message.Response, error)

func (f last) Handle(ctx context.Context, x *exchange.Exchange, _ exchange.Next) (*message.Response, error) {
	return f(ctx, x)
}

func newBench(t *testing.T, manager, action string, f last) *bench {
	t.Helper()
	m, table := &hcmv3.HttpConnectionManager{}, &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal([]byte("{"+manager+"}"), m); err != nil {
		t.Fatal(err)
	}
	routing := `{"virtualHosts": [{"name": "vh", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, ` + action + `}]}]}`
	if err := protojson.Unmarshal([]byte(routing), table); err != nil {
		t.Fatal(err)
	}
	problems := resource.NewProblems("")
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: problems}
	group := stats.NewGroup[Stats](env.Stats.Scope("http.test."))
	b := &bench{st: group.Lane(0)}
	var err error
	if b.log.format, err = format.Compile("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%", format.Options{}); err != nil {
		t.Fatal(err)
	}
	b.Dispatcher = &Dispatcher{
		cfg: compileConfig(env, m, "test"), env: env, stats: group,
		listener: stats.NewGroup[ListenerStats](env.Stats.Scope("listener.http.test.")),
	}
	b.cfg.logs = append(b.cfg.logs, &b.log)
	routes := newRouting(route.Compile(route.Env{}, table, "routes", problems), "")
	v := &View{state: &state{routes: routes, common: []exchange.Filter{f}}}
	b.view.Store(v)
	if problems.HasErrors() {
		t.Fatal(problems.All())
	}
	return b
}

// A caller is a stream of which the test is the client.
type caller struct {
	req     message.Request
	n       protocol.Counts
	c       *conn.Conn
	scope   *scope.Scope
	owner   any
	resp    *message.Response // with a copy of its head
	body    string
	failure error // what Respond returns
	reset   error
}

func (s *caller) Request() *message.Request         { return &s.req }
func (s *caller) Version() protocol.Version         { return protocol.HTTP2 }
func (s *caller) Inform(int, *message.Header) error { return nil }
func (s *caller) Started() bool                     { return s.resp != nil }
func (s *caller) Reset(cause error)                 { s.reset = cause }
func (s *caller) CloseAfter()                       {}
func (s *caller) Counts() *protocol.Counts          { return &s.n }
func (s *caller) Conn() *conn.Conn                  { return s.c }
func (s *caller) SetOwner(o any)                    { s.owner = o }
func (s *caller) Owner() any                        { return s.owner }

func (s *caller) Respond(r *message.Response) error {
	if err := s.scope.Err(); err != nil {
		r.Body.Close(err)
		return err
	}
	s.resp = &message.Response{Status: r.Status, Length: r.Length}
	s.resp.Header.CopyFrom(&r.Header)
	var err error
	for err == nil {
		var p []byte
		p, err = r.Body.Next()
		s.body += string(p)
	}
	if err == io.EOF {
		err = s.failure
	}
	r.Body.Close(err)
	return err
}

// call makes a request with headers and returns when the exchange is over.
func (b *bench) call(t *testing.T, method string, headers ...string) *caller {
	t.Helper()
	s := b.caller(t, method, headers...)
	b.serve(s)
	return s
}

func (b *bench) caller(t testing.TB, method string, headers ...string) *caller {
	t.Helper()
	return b.callerOn(connection(t), method, headers...)
}

func (b *bench) callerOn(c *conn.Conn, method string, headers ...string) *caller {
	s := &caller{req: message.Request{Method: method, Scheme: "http", Authority: "h", Path: "/p", Body: message.NoBody}, c: c, scope: &scope.Scope{}}
	for i := 0; i < len(headers); i += 2 {
		s.req.Header.Add(headers[i], headers[i+1])
	}
	s.scope.Init(func(d scope.Due) error { return b.Expired(s, d) })
	s.scope.Begin(context.Background())
	return s
}

func (b *bench) serve(s *caller) {
	b.ServeStream(s.scope, s)
	s.scope.End()
	s.scope.Close()
}

const toCluster = `"route": {"cluster": "c"}`

func TestLocalRepliesToGRPC(t *testing.T) {
	unhealthy := func(context.Context, *exchange.Exchange) (*message.Response, error) {
		return nil, &exchange.Error{Status: 503, Body: "no healthy upstream", Details: "no_healthy_upstream", Flag: observe.UH}
	}
	direct := func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		x.Record.Details = "direct_response"
		return x.Answer(404, "nobody is here", nil), nil
	}
	const mapper = `"localReplyConfig": {"mappers": [{"filter": {"statusCodeFilter": {"comparison": {"op": "EQ", "value": {"defaultValue": 503, "runtimeKey": "k"}}}},
		"statusCode": 401, "body": {"inlineString": "who are you?"}, "headersToAdd": [{"header": {"key": "x-why", "value": "%RESPONSE_CODE%"}}]}]`
	for _, c := range []struct {
		name, manager string
		filter        last
		method        string
		headers       []string
		status        int
		grpc, message string
		body, log     string
	}{
		{name: "an error", filter: unhealthy, headers: []string{"content-type", "application/grpc"}, status: 200, grpc: "14", message: "no healthy upstream",
			log: "200 UH no_healthy_upstream Unavailable"},
		{name: "of a subtype", filter: unhealthy, headers: []string{"content-type", "application/grpc+proto"}, status: 200, grpc: "14", message: "no healthy upstream",
			log: "200 UH no_healthy_upstream Unavailable"},
		{name: "not gRPC", filter: unhealthy, status: 503, body: "no healthy upstream", log: "503 UH no_healthy_upstream -"},
		{name: "gRPC-Web", filter: unhealthy, headers: []string{"content-type", "application/grpc-web"}, status: 503, body: "no healthy upstream",
			log: "503 UH no_healthy_upstream -"},
		{name: "a direct response", filter: direct, headers: []string{"content-type", "application/grpc"}, status: 200, grpc: "12", message: "nobody is here",
			log: "200 - direct_response Unimplemented"},
		{name: "HEAD", filter: direct, method: "HEAD", headers: []string{"content-type", "application/grpc"}, status: 200, grpc: "12",
			log: "200 - direct_response Unimplemented"},
		{name: "mapped", manager: mapper + `}`, filter: unhealthy, headers: []string{"content-type", "application/grpc"}, status: 200, grpc: "16", message: "who are you?",
			log: "200 UH no_healthy_upstream Unauthenticated"},
		{name: "mapped and worded", manager: mapper + `, "bodyFormat": {"jsonFormat": {"m": "%LOCAL_REPLY_BODY%", "s": "%RESPONSE_CODE%"}}}`, filter: unhealthy,
			headers: []string{"content-type", "application/grpc"}, status: 200, grpc: "16", message: `{"m":"who are you?","s":401}%0A`,
			log: "200 UH no_healthy_upstream Unauthenticated"},
		{name: "refused", filter: unhealthy, headers: []string{"content-type", "application/grpc", "x-upgrade", "websocket"}, status: 200, grpc: "7",
			log: "200 - upgrade_failed PermissionDenied"},
	} {
		b := newBench(t, c.manager, toCluster, c.filter)
		if c.method == "" {
			c.method = "POST"
		}
		s := b.caller(t, c.method, c.headers...)
		s.req.Upgrade = s.req.Header.Get("x-upgrade")
		b.serve(s)
		if s.resp == nil {
			t.Errorf("%s: no response", c.name)
			continue
		}
		h := &s.resp.Header
		if s.resp.Status != c.status || h.Get("grpc-status") != c.grpc || h.Get("grpc-message") != c.message || s.body != c.body ||
			(h.Get("content-type") == "application/grpc") != (c.grpc != "") || c.grpc != "" && s.resp.Length != 0 {
			t.Errorf("%s: %d, status %q, message %q, type %q, body %q", c.name, s.resp.Status, h.Get("grpc-status"), h.Get("grpc-message"), h.Get("content-type"), s.body)
		}
		if !slices.Equal(b.log.lines, []string{c.log}) {
			t.Errorf("%s: log %q", c.name, b.log.lines)
		}
		if class := &b.st.Rq2xx; c.status == 200 && class.Value() != 1 {
			t.Errorf("%s: not counted as a 200", c.name)
		}
	}
}

func TestTheClientDecidesWhetherAReplyIsGRPC(t *testing.T) {
	b := newBench(t, "", toCluster, func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		x.Request.Header.SetKnown(message.ContentType, "application/grpc") // as a transcoder does
		return nil, &exchange.Error{Status: 503, Body: "no"}
	})
	if s := b.call(t, "POST", "content-type", "application/json"); s.resp.Status != 503 || s.body != "no" {
		t.Errorf("%d %q", s.resp.Status, s.body)
	}
}

func TestGRPCTimeoutLimitsTheExchange(t *testing.T) {
	for _, c := range []struct {
		name, manager, route string
		headers              []string
		takes                time.Duration
		seen                 string // grpc-timeout as filters see it
		status               int
		grpc                 string
	}{
		{name: "the header's", route: `"grpcTimeoutHeaderMax": "0s"`, headers: []string{"content-type", "application/grpc", "grpc-timeout", "3S"},
			takes: 3 * time.Second, seen: "3000m", status: 200, grpc: "4"},
		{name: "less an offset", route: `"grpcTimeoutHeaderMax": "9s", "grpcTimeoutHeaderOffset": "1s"`,
			headers: []string{"content-type", "application/grpc", "grpc-timeout", "3S"}, takes: 2 * time.Second, seen: "2000m", status: 200, grpc: "4"},
		{name: "nothing is left", route: `"grpcTimeoutHeaderMax": "9s", "grpcTimeoutHeaderOffset": "5s"`,
			headers: []string{"content-type", "application/grpc", "grpc-timeout", "3S"}, seen: "0m", status: 200, grpc: "4"},
		{name: "the connection manager's", manager: `"commonHttpProtocolOptions": {"maxStreamDuration": "7s"}`, route: `"grpcTimeoutHeaderMax": "0s"`,
			headers: []string{"content-type", "application/grpc"}, takes: 7 * time.Second, seen: "7000m", status: 200, grpc: "4"},
		{name: "not gRPC", route: `"maxStreamDuration": "2s"`, headers: []string{"grpc-timeout", "1S"}, takes: 2 * time.Second, seen: "1S", status: 504},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := ""
				b := newBench(t, c.manager, `"route": {"cluster": "c", "maxStreamDuration": {`+c.route+`}}`, func(ctx context.Context, x *exchange.Exchange) (*message.Response, error) {
					seen = x.Request.Header.Get("grpc-timeout")
					<-ctx.Done()
					return nil, scope.Cause(ctx)
				})
				began := time.Now()
				s := b.call(t, "POST", c.headers...)
				if took := time.Since(began); took != c.takes || seen != c.seen {
					t.Errorf("took %v, the filters see %q", took, seen)
				}
				h := &s.resp.Header
				if s.resp.Status != c.status || h.Get("grpc-status") != c.grpc || c.grpc != "" && h.Get("grpc-message") != "downstream duration timeout" {
					t.Errorf("%d %q %q", s.resp.Status, h.Get("grpc-status"), h.Get("grpc-message"))
				}
				if b.st.RqMaxDuration.Value() != 1 {
					t.Errorf("%d exchanges took too long", b.st.RqMaxDuration.Value())
				}
			})
		})
	}
}

func TestClientsThatGoAway(t *testing.T) {
	reset := &protocol.ResetError{Code: 8}
	wait := func(ctx context.Context, _ *exchange.Exchange) (*message.Response, error) {
		<-ctx.Done()
		return nil, scope.Cause(ctx)
	}
	fine := func(_ context.Context, x *exchange.Exchange) (*message.Response, error) {
		return &message.Response{Status: 200, Length: 2, Body: message.NewBytes([]byte("ok"))}, nil
	}
	upstreamBroke := &exchange.Error{Stage: exchange.Respond, Side: exchange.Upstream, Status: 503, Flag: observe.UR,
		Details: "upstream_reset_after_response_started{remote_reset}", Cause: reset}
	for _, c := range []struct {
		name   string
		filter last
		cancel error // the scope's, before the response
		fails  error // what Respond says
		log    string
		rx, tx uint64
	}{
		{name: "reset before", filter: wait, cancel: reset, log: "0 DR http2.remote_reset -", rx: 1},
		{name: "refused before", filter: wait, cancel: &protocol.ResetError{Code: 7}, log: "0 DR http2.remote_refuse -", rx: 1},
		{name: "gone before", filter: wait, cancel: protocol.ErrPeerGone, log: "0 DC downstream_remote_disconnect -", rx: 1},
		{name: "reset while it is answered", filter: fine, fails: reset, log: "200 DR http2.remote_reset -", rx: 1},
		{name: "gone while it is answered", filter: fine, fails: io.EOF, log: "200 DC downstream_remote_disconnect -", rx: 1},
		{name: "the upstream resets", filter: fine, fails: upstreamBroke, log: "200 UR upstream_reset_after_response_started{remote_reset} -", tx: 1},
		{name: "nobody goes", filter: fine, log: "200 - via_upstream -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "", toCluster, c.filter)
				s := b.caller(t, "GET")
				s.failure = c.fails
				if c.cancel != nil {
					go s.scope.Cancel(c.cancel)
				}
				b.serve(s)
				if !slices.Equal(b.log.lines, []string{c.log}) {
					t.Errorf("log %q, want %q", b.log.lines, c.log)
				}
				if b.st.RqRxReset.Value() != c.rx || b.st.RqTxReset.Value() != c.tx || b.st.RqActive.Value() != 0 {
					t.Errorf("%d resets received, %d sent", b.st.RqRxReset.Value(), b.st.RqTxReset.Value())
				}
				if s.reset != nil {
					t.Errorf("the stream was reset because of %v", s.reset)
				}
			})
		})
	}
}
