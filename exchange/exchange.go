// Package exchange is one request and its response on their way through Weft: the Exchange itself, the Route it takes, the Filters it
// passes, and the Error that says where and why it failed.
package exchange

import (
	"context"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/upstream"
)

// An Exchange is one request and its response. It belongs to the goroutine that serves it; whatever it holds is dead once
// the exchange has ended.
type Exchange struct {
	Request  *message.Request
	Conn     *conn.Info
	Route    *Route          // never nil: "no route" is a route that answers 404
	Clusters *upstream.Table // pinned with the rest of the view when the exchange began
	Record   observe.Record  // facts for the access log, metrics and the span
	Scope    *scope.Scope    // the context that filters get; deadlines are armed here
	Lane     uint32          // which lane of the statistics to add to
	Random   uint64          // one random number an exchange: weighted clusters, fractions
	Host     *upstream.Host  // the host of the present or last attempt
	Cluster  *upstream.Cluster

	// UpstreamScheme says that the request gets the scheme of the connection it is sent on (scheme_header_transformation.match_upstream).
	UpstreamScheme bool

	// Rewritten by the router before the first attempt, so that retries and logs see what the client sent.
	Inbound struct{ Path, Authority string }

	// Weighted is which of several clusters the router chose, nil where there was no choice. Forwarding is what the router keeps for
	// the exchange; it survives Reset, so that its memory serves the next one.
	Weighted   *Weighted
	Forwarding any

	filters []Filter
	rematch func(*Exchange)
	local   Reply
	tracked Tracked

	response responseLimit
}

// A Filter handles an exchange: it answers by returning a response, or hands on to next and may look at what comes back. One Filter
// serves many exchanges at once; what belongs to one is a local variable in Handle.
type Filter interface {
	Handle(ctx context.Context, x *Exchange, next Next) (*message.Response, error)
}

// Next is the rest of the chain, a value: calling it twice is a retry.
type Next struct{ at int }

// Handle runs the rest of the chain. An error comes back as the response that answers it, with the error kept in
// Response.Local: outer filters see a response like any other.
func (n Next) Handle(ctx context.Context, x *Exchange) (*message.Response, error) {
	resp, err := x.filters[n.at].Handle(ctx, x, Next{n.at + 1})
	if err != nil && n.at > 0 {
		return x.Reply(err), nil
	}
	return resp, err
}

// Begin prepares x for a request. rematch is what Reroute calls.
func (x *Exchange) Begin(req *message.Request, info *conn.Info, rematch func(*Exchange)) {
	x.Request, x.Conn, x.rematch = req, info, rematch
}

// Reset forgets everything about the exchange that is over and keeps its memory for the next.
func (x *Exchange) Reset() {
	x.Request, x.Conn, x.Route, x.Clusters, x.Scope, x.Host, x.Cluster = nil, nil, nil, nil, nil, nil, nil
	x.Weighted, x.UpstreamScheme = nil, false
	x.Record = observe.Record{}
	x.Inbound.Path, x.Inbound.Authority = "", ""
	x.filters, x.rematch = nil, nil
	x.response.complete.Store(0)
	x.response.limit.Store(0)
	x.local.resp.Header.Reset()
	x.local.resp.Local, x.local.resp.Body = nil, nil
}

// Take gives the exchange its route and the filters compiled for it.
func (x *Exchange) Take(r *Route, filters []Filter) {
	x.Route, x.filters = r, filters
	x.tracked.route.Store(r)
}

// Run passes the exchange through its filters.
func (x *Exchange) Run(ctx context.Context) (*message.Response, error) {
	return Next{}.Handle(ctx, x)
}

// Reroute matches again, after a filter changed what routes are matched by. All routes of a chain have the same number of filters in the
// same order, so the rest of the chain stays valid.
func (x *Exchange) Reroute() { x.rematch(x) }

// Entry returns what access logs and formatters look at.
func (x *Exchange) Entry(resp *message.Response) observe.Entry {
	e := observe.Entry{Record: &x.Record, Conn: x.Conn, Request: x.Request, Response: resp}
	if x.Route != nil {
		e.Metadata.Route = x.Route.Metadata
	}
	if x.Cluster != nil {
		e.Metadata.Cluster = x.Cluster.Config.Metadata
	}
	if x.Host != nil {
		e.Metadata.Host = x.Host.Metadata()
	}
	return e
}
