// Package grpcweb is the HTTP filter envoy.filters.http.grpc_web: it lets browsers, which cannot read trailers, call gRPC services.
// Requests lose their base64 where they have one; responses get their trailers as a last frame of the body.
package grpcweb

import (
	"context"
	"strings"

	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/grpc/calls"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// Extension is the HTTP filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.grpc_web", Config: &webv3.GrpcWeb{},
		New:     func(*extension.Env, proto.Message) (exchange.Filter, error) { return New(), nil },
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields: there are none.
func Support() resource.Support {
	return resource.Support{"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": resource.Names("")}
}

// acceptEncoding is what a gRPC-Web request says to the upstream when it says nothing itself.
const acceptEncoding = "identity,deflate,gzip"

// A Filter is the filter at work. Safe for concurrent use.
type Filter struct{ calls *calls.Table }

// New returns the filter. As in Envoy it counts each method that is called, below cluster.<name>.grpc-web.
func New() *Filter {
	return &Filter{calls: calls.NewTable(calls.Options{Protocol: "grpc-web", All: true})}
}

// Handle makes gRPC of a gRPC-Web request and gRPC-Web of its response. Other requests pass.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	q := x.Request
	if !grpc.IsWeb(&q.Header) || q.Upgrade != "" {
		return next.Handle(ctx, x)
	}
	st := f.calls.Find(x)
	text := wantsText(&q.Header)
	receive(q)
	resp, err := next.Handle(ctx, x)
	if err != nil {
		return nil, err
	}
	return f.answer(x, resp, st, text), nil
}

// receive makes a gRPC request of q.
func receive(q *message.Request) {
	if q.Length > 0 {
		q.Length = -1
	}
	if grpc.IsWebText(q.Header.Known(message.ContentType)) && q.Length != 0 {
		q.Body = &textRequest{Body: q.Body}
	}
	q.Header.SetKnown(message.ContentType, grpc.ContentType)
	q.Header.SetKnown(message.TE, "trailers")
	if !q.Header.Has("grpc-accept-encoding") {
		q.Header.Add("grpc-accept-encoding", acceptEncoding)
	}
}

// wantsText reports whether the client takes its response in base64: whether that is the first type of gRPC-Web it accepts.
func wantsText(h *message.Header) bool {
	for t := range strings.SplitSeq(h.Known(message.Accept), ",") {
		t = strings.TrimLeft(t, " \t")
		if grpc.IsWebText(t) {
			return true
		}
		if grpc.IsWebBinary(t) {
			return false
		}
	}
	return false
}

// answer makes a gRPC-Web response of what came back.
func (f *Filter) answer(x *exchange.Exchange, resp *message.Response, st *calls.Stats, text bool) *message.Response {
	st.Charge(resp.Header.Known(message.GRPCStatus))
	bodyless := resp.Length == 0
	web := resp.Status == 200 && grpc.IsWebBinary(resp.Header.Known(message.ContentType))
	if x.Own(resp) {
		resp = detach(resp)
	}
	switch {
	case !grpc.IsResponse(resp.Status, &resp.Header, bodyless) && !web:
		explain(resp)
	case !bodyless:
		resp.Length = -1
		resp.Body = &webResponse{Body: resp.Body, stats: st, text: text}
	}
	if text {
		resp.Header.SetKnown(message.ContentType, grpc.WebTextProtoContentType)
	} else {
		resp.Header.SetKnown(message.ContentType, grpc.WebProtoContentType)
	}
	return resp
}

// detach returns a copy of an answer that the exchange made itself, so that local_reply_config does not word it a second time.
func detach(own *message.Response) *message.Response {
	resp := &message.Response{Status: own.Status, Body: own.Body, Length: own.Length, Local: own.Local}
	resp.Header.CopyFrom(&own.Header)
	return resp
}

// maxExplanation is how many bytes of a response that is none of gRPC become the grpc-message. Envoy's number.
const maxExplanation = 16 << 10

// explain tells in headers what a response says that is none of gRPC: its status as grpc-status, its body as grpc-message. A response
// that has a grpc-status all the same keeps what it says.
func explain(resp *message.Response) {
	var body []byte
	known := resp.Header.HasKnown(message.GRPCStatus)
	for !known && resp.Length != 0 && len(body) < maxExplanation {
		p, err := resp.Body.Next()
		body = append(body, p[:min(len(p), maxExplanation-len(body))]...)
		if err != nil {
			break // what there is has to do
		}
	}
	resp.Body.Close(nil)
	resp.Body, resp.Length = message.NoBody, 0
	resp.Header.DelKnown(message.ContentLength)
	if known {
		return
	}
	resp.Header.SetKnown(message.GRPCStatus, grpc.FromHTTP(resp.Status).Number())
	if len(body) > 0 {
		resp.Header.SetKnownBytes(message.GRPCMessage, grpc.AppendMessage(nil, body))
	}
}
