// Package grpchttp1reversebridge is the HTTP filter envoy.filters.http.grpc_http1_reverse_bridge: it lets gRPC clients make unary calls of
// upstreams that speak plain HTTP. It changes the content type, may take the frame off the message and put it back, and adds the trailers.
package grpchttp1reversebridge

import (
	"context"
	"strconv"
	"strings"

	reversev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// Extension is the HTTP filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.grpc_http1_reverse_bridge", Config: &reversev3.FilterConfig{}, Override: &reversev3.FilterConfigPerRoute{},
		New: func(env *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return New(env, cfg.(*reversev3.FilterConfig)), nil
		},
		ForRoute: func(_ *extension.Env, f exchange.Filter, override proto.Message) (exchange.Filter, error) {
			return f.(*Filter).forRoute(override.(*reversev3.FilterConfigPerRoute)), nil
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	const at = "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3."
	return resource.Support{
		at + "FilterConfig":         resource.Names("content_type withhold_grpc_frames response_size_header"),
		at + "FilterConfigPerRoute": resource.Names("disabled"),
	}
}

// defaultBuffer is the listener's per_connection_buffer_limit_bytes when it has none, in bytes.
const defaultBuffer = 1 << 20

// A Filter is the filter at work. Safe for concurrent use.
type Filter struct {
	contentType string // of requests to the upstream, and of its responses
	withhold    bool   // withhold_grpc_frames
	sizeHeader  string // response_size_header; "": the length is found out
	limit       int    // bytes of a response that are held
	disabled    bool   // by the route
}

// New compiles the filter.
func New(env *extension.Env, cfg *reversev3.FilterConfig) *Filter {
	f := &Filter{
		contentType: cfg.GetContentType(), withhold: cfg.GetWithholdGrpcFrames(), sizeHeader: cfg.GetResponseSizeHeader(),
		limit: env.Listener.BufferLimit,
	}
	if f.limit <= 0 {
		f.limit = defaultBuffer
	}
	return f
}

func (f *Filter) forRoute(cfg *reversev3.FilterConfigPerRoute) *Filter {
	g := *f
	g.disabled = cfg.GetDisabled()
	return &g
}

// Handle makes plain HTTP of a gRPC request and gRPC of its response. Other requests, and those without a body, pass.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	q := x.Request
	if f.disabled || q.Length == 0 || !grpc.IsRequest(&q.Header) {
		return next.Handle(ctx, x)
	}
	contentType := q.Header.Known(message.ContentType)
	q.Header.SetKnown(message.ContentType, f.contentType)
	q.Header.SetKnown(message.Accept, f.contentType)
	var bare *unframed
	if f.withhold {
		bare = &unframed{Body: q.Body}
		q.Body = bare
		if q.Length > 0 {
			if q.Length < grpc.FrameHeaderLen {
				return refuse(x, contentType, tooSmall), nil
			}
			if q.Length -= grpc.FrameHeaderLen; q.Length == 0 {
				q.Length = -1 // the frame has to be read all the same
			}
		}
	}
	x.Reroute()
	resp, err := next.Handle(ctx, x)
	if err != nil {
		return nil, err
	}
	if resp.Local != nil {
		if bare != nil && bare.short {
			return refuse(x, contentType, tooSmall), nil
		}
		return translate(x, resp, contentType), nil
	}
	return f.answer(x, resp, contentType), nil
}

// answer makes a gRPC response of the upstream's.
func (f *Filter) answer(x *exchange.Exchange, resp *message.Response, contentType string) *message.Response {
	h := &resp.Header
	if got := h.Known(message.ContentType); got != f.contentType {
		return instead(x, resp, contentType, wrongType(got, resp.Status))
	}
	status := grpc.OK
	if resp.Status != 200 {
		status = grpc.FromHTTP(resp.Status)
	}
	var refused *refusal
	switch {
	case !f.withhold && resp.Length == 0:
		h.SetKnown(message.GRPCStatus, status.Number())
	case !f.withhold:
		resp.Body = &finished{Body: resp.Body, status: status, size: -1}
	case f.sizeHeader != "":
		refused = f.announced(resp, status)
	default:
		refused = f.measured(resp, status)
	}
	if refused != nil {
		return instead(x, resp, contentType, *refused)
	}
	h.SetKnown(message.ContentType, contentType)
	h.DelKnown(message.ContentLength)
	resp.Status = 200
	return resp
}

// announced frames a response whose length a header of it says, while it streams.
func (f *Filter) announced(resp *message.Response, status grpc.Status) *refusal {
	v, _, _ := strings.Cut(resp.Header.Get(f.sizeHeader), ",")
	size, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return &noSize
	}
	if resp.Length >= 0 && resp.Length != int64(size) {
		return &wrongSize
	}
	frame(resp, int64(size), status)
	return nil
}

// measured frames a response whose length is known, or found out by reading it to its end.
func (f *Filter) measured(resp *message.Response, status grpc.Status) *refusal {
	if resp.Length < 0 {
		all, err := message.ReadAll(resp.Body, f.limit)
		switch {
		case err == message.ErrTooLarge:
			return &tooLarge
		case err != nil:
			return brokenOff(err)
		}
		resp.Body, resp.Length = &held{Body: resp.Body, data: all}, int64(len(all))
	}
	if resp.Length > maxMessage {
		return &tooLarge
	}
	frame(resp, resp.Length, status)
	return nil
}

// maxMessage is what the length of a frame can say.
const maxMessage = 1<<32 - 1

// frame puts the header of a gRPC message before the body, and a grpc-status after it.
func frame(resp *message.Response, size int64, status grpc.Status) {
	resp.Body = &finished{Body: resp.Body, head: grpc.AppendFrameHeader(nil, 0, int(size)), status: status, size: size}
	resp.Length = size + grpc.FrameHeaderLen
}
