package grpctest

import (
	"context"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// An Upstream is the end of a chain.
type Upstream func(ctx context.Context, x *exchange.Exchange) (*message.Response, error)

// Handle implements exchange.Filter.
func (u Upstream) Handle(ctx context.Context, x *exchange.Exchange, _ exchange.Next) (*message.Response, error) {
	return u(ctx, x)
}

// Exchange returns an exchange over HTTP/1.1 whose chain is f before u. rerouted counts the calls of Reroute.
func Exchange(f exchange.Filter, u Upstream, q *message.Request) (x *exchange.Exchange, rerouted *int) {
	rerouted = new(int)
	x = &exchange.Exchange{}
	x.Begin(q, nil, func(*exchange.Exchange) { *rerouted++ })
	x.Record.Protocol = "HTTP/1.1"
	x.Take(&exchange.Route{BufferLimit: -1, Target: &exchange.Target{Cluster: "c"}}, []exchange.Filter{f, u})
	return x, rerouted
}

// Request returns a POST to path with a body of unknown length; nil is none.
func Request(path string, body message.Body, fields ...string) *message.Request {
	q := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: path, Body: body, Length: -1}
	if body == nil {
		q.Body, q.Length = message.NoBody, 0
	}
	q.Header = *Header(fields...)
	return q
}

// Response returns a response with a body of unknown length; nil is none.
func Response(status int, body message.Body, fields ...string) *message.Response {
	r := &message.Response{Status: status, Body: body, Length: -1}
	if body == nil {
		r.Body, r.Length = message.NoBody, 0
	}
	r.Header = *Header(fields...)
	return r
}
