package forward

import (
	"context"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/stats"
)

// A Router is envoy.filters.http.router: the last filter of every HTTP chain. Immutable; safe for concurrent use.
type Router struct {
	stats           *stats.Group[Stats]
	dynamic         bool // count response codes and times (dynamic_stats)
	suppress        bool // add no x-envoy-* headers (suppress_envoy_headers)
	respectExpected bool // take x-envoy-expected-rq-timeout-ms for the timeout (respect_expected_rq_timeout)
	suppressGRPC    bool // count gRPC responses by no HTTP status (suppress_grpc_request_failure_code_stats)
	strict          []message.Known
	bufferLimit     int // request bytes kept for retries where the route does not say
	logs            []accesslog.Writer
	classes         classes
	runtime         *extension.Runtime
}

// defaultBufferLimit is the listener's when it has none: Envoy's per_connection_buffer_limit_bytes.
const defaultBufferLimit = 1 << 20

// NewRouter compiles the filter. Its statistics are below the connection manager's http.<stat_prefix>.
func NewRouter(env *extension.Env, cfg *routerv3.Router) (exchange.Filter, error) {
	r := &Router{
		dynamic:         cfg.GetDynamicStats() == nil || cfg.GetDynamicStats().GetValue(),
		suppress:        cfg.GetSuppressEnvoyHeaders(),
		respectExpected: cfg.GetRespectExpectedRqTimeout(),
		suppressGRPC:    cfg.GetSuppressGrpcRequestFailureCodeStats(),
		bufferLimit:     env.Listener.BufferLimit,
		runtime:         env.Options.Runtime,
		classes:         classes{store: env.Stats},
	}
	if r.bufferLimit <= 0 {
		r.bufferLimit = defaultBufferLimit
	}
	scope := env.HTTP
	if scope == nil {
		scope = env.Stats.Scope("http.")
	}
	r.stats = stats.NewGroup[Stats](scope)
	for _, name := range cfg.GetStrictCheckHeaders() {
		r.strict = append(r.strict, message.LookupKnown(name))
	}
	for i, l := range cfg.GetUpstreamLog() {
		if w := env.CompileLog(l, env.Path.Field("upstream_log").Index(i)); w != nil {
			r.logs = append(r.logs, w)
		}
	}
	return r, nil
}

// Handle answers the exchange: directly, with a redirect, or with what the upstream says.
func (r *Router) Handle(ctx context.Context, x *exchange.Exchange, _ exchange.Next) (*message.Response, error) {
	s := r.stats.Lane(x.Lane)
	s.RqTotal.Inc()
	switch route := x.Route; {
	case route.Direct != nil:
		s.RqDirectResponse.Inc()
		return r.direct(x), nil
	case route.Redirect != nil:
		s.RqDirectResponse.Inc()
		s.RqRedirect.Inc()
		return r.redirect(x), nil
	case route.Target == nil:
		s.NoRoute.Inc()
		return nil, errNoRoute
	}
	f := r.flight(ctx, x)
	f.router = s
	return f.run()
}

// direct answers with what the route says.
func (r *Router) direct(x *exchange.Exchange) *message.Response {
	d := x.Route.Direct
	resp := x.Answer(d.Status, d.Body, nil)
	if exchange.Locates(d.Status) {
		r.locate(x, resp)
	}
	return r.answered(x, resp)
}

// redirect answers with another location.
func (r *Router) redirect(x *exchange.Exchange) *message.Response {
	resp := x.Answer(x.Route.Redirect.Status, "", nil)
	r.locate(x, resp)
	return r.answered(x, resp)
}

func (r *Router) locate(x *exchange.Exchange, resp *message.Response) {
	var scratch [512]byte
	resp.Header.AddKnown(message.Location, string(x.Route.AppendLocation(scratch[:0], x.Request)))
}

// answered finishes a response that the route gives itself.
func (r *Router) answered(x *exchange.Exchange, resp *message.Response) *message.Response {
	x.Record.Details = "direct_response"
	if len(x.Route.ResponseHeaders) > 0 {
		e := x.Entry(resp)
		x.Route.RewriteResponse(&resp.Header, &e, nil)
	}
	return resp
}
