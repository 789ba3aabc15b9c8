// Package grpchttp1bridge is the HTTP filter envoy.filters.http.grpc_http1_bridge: it lets HTTP/1 clients, which see no trailers, make
// unary calls of gRPC services. The whole response is held until its trailers are there, and they become headers.
package grpchttp1bridge

import (
	"context"
	"errors"
	"math"
	"strings"

	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
)

// Extension is the HTTP filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.grpc_http1_bridge", Config: &bridgev3.Config{},
		New: func(env *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return New(env, cfg.(*bridgev3.Config)), nil
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	return resource.Support{
		"envoy.extensions.filters.http.grpc_http1_bridge.v3.Config": resource.Names("upgrade_protobuf_to_grpc ignore_query_parameters"),
	}
}

// protobufType is the content type that upgrade_protobuf_to_grpc is about.
const protobufType = "application/x-protobuf"

// defaultBuffer is the listener's per_connection_buffer_limit_bytes when it has none, in bytes.
const defaultBuffer = 1 << 20

// What a message beyond the buffer limit ends with. Immutable.
var (
	errRequestTooLarge = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Status: 413,
		Body: "Payload Too Large", Details: "request_payload_too_large"}
	errResponseTooLarge = &exchange.Error{Stage: exchange.Filtering, Side: exchange.Local, Status: 500,
		Body: "Internal Server Error", Details: "response_payload_too_large"}
)

// A Filter is the filter at work. Safe for concurrent use.
type Filter struct {
	upgrade     bool // upgrade_protobuf_to_grpc
	ignoreQuery bool // ignore_query_parameters
	limit       int  // bytes of a message that are held
}

// New compiles the filter.
func New(env *extension.Env, cfg *bridgev3.Config) *Filter {
	f := &Filter{upgrade: cfg.GetUpgradeProtobufToGrpc(), ignoreQuery: cfg.GetIgnoreQueryParameters(), limit: env.Listener.BufferLimit}
	if f.limit <= 0 {
		f.limit = defaultBuffer
	}
	return f
}

// Handle bridges a gRPC request that came over HTTP/1. Other requests pass.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	q := x.Request
	if q.Upgrade != "" || x.Record.Protocol != "HTTP/1.1" && x.Record.Protocol != "HTTP/1.0" {
		return next.Handle(ctx, x)
	}
	framed := f.upgrade && q.Header.Known(message.ContentType) == protobufType
	if !framed && !grpc.IsRequest(&q.Header) {
		return next.Handle(ctx, x)
	}
	if f.ignoreQuery {
		q.Path, _, _ = strings.Cut(q.Path, "?")
	}
	q.Header.SetKnown(message.TE, "trailers")
	if framed {
		if err := f.frame(ctx, x); err != nil {
			return nil, err
		}
		q.Header.SetKnown(message.ContentType, grpc.ContentType)
		x.Reroute()
	}
	resp, err := next.Handle(ctx, x)
	if err != nil || resp.Local != nil || resp.Length == 0 {
		return resp, err
	}
	return f.hold(resp, framed)
}

// frame makes the request's body one gRPC message. A body whose length is not known is read to its end first.
func (f *Filter) frame(ctx context.Context, x *exchange.Exchange) error {
	q := x.Request
	n, body := q.Length, q.Body
	if n < 0 {
		limit := x.Route.BufferLimit
		if limit < 0 {
			limit = f.limit
		}
		all, err := message.ReadAll(body, limit)
		if err != nil {
			return broken(ctx, err)
		}
		n, body = int64(len(all)), &held{Body: body, data: all}
	}
	if n > math.MaxUint32 {
		return errRequestTooLarge
	}
	q.Body = &prefixed{Body: body, head: grpc.AppendFrameHeader(nil, 0, int(n))}
	q.Length = n + grpc.FrameHeaderLen
	return nil
}

// broken says what an exchange ends with whose request could not be read to its end.
func broken(ctx context.Context, err error) error {
	if err == message.ErrTooLarge {
		return errRequestTooLarge
	}
	if cause := scope.Cause(ctx); cause != nil {
		return cause
	}
	e := &exchange.Error{Stage: exchange.Filtering, Side: exchange.Downstream, Flag: observe.DC,
		Details: "downstream_remote_disconnect", Cause: err}
	var own *exchange.Error
	var malformed *protocol.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &malformed):
		e.Flag, e.Status, e.Details = observe.DPE, malformed.Status, malformed.Details
	}
	return e
}

// hold reads the response to its end and tells in headers what its trailers say. The upstream may take its time for that; the route's
// timeout goes on.
func (f *Filter) hold(resp *message.Response, framed bool) (*message.Response, error) {
	all, err := message.ReadAll(resp.Body, f.limit)
	if err != nil {
		if err == message.ErrTooLarge {
			err = errResponseTooLarge
		}
		resp.Body.Close(err)
		resp.Release()
		return nil, err
	}
	if framed {
		all = all[min(grpc.FrameHeaderLen, len(all)):]
	}
	if t := resp.Body.Trailer(); t != nil {
		if status, ok := t.Lookup("grpc-status"); ok {
			if status != "0" {
				resp.Status = 503
			}
			resp.Header.SetKnown(message.GRPCStatus, status)
		}
		if text, ok := t.Lookup("grpc-message"); ok {
			resp.Header.SetKnown(message.GRPCMessage, text)
		}
	}
	resp.Body, resp.Length = &held{Body: resp.Body, data: all}, int64(len(all))
	return resp, nil
}
