package grpcjson

import (
	"context"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// originalMethod tells the upstream what the client sent.
const originalMethod = "x-envoy-original-method"

// Handle transcodes the exchange when its request is for a method, and hands it on untouched otherwise.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	req := x.Request
	if f.off || req.Upgrade != "" || grpc.IsRequest(&req.Header) {
		return next.Handle(ctx, x)
	}
	c, err := f.match(req)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return next.Handle(ctx, x)
	}
	c.stats = f.stats.Lane(x.Lane)
	if c.r.raw {
		c.mime = req.Header.Known(message.ContentType)
	}
	body, length, err := c.requestBody(req)
	if err != nil {
		return nil, err
	}
	c.rewrite(req, body, length)
	if !f.keepRoute {
		x.Reroute()
	}
	resp, err := next.Handle(ctx, x)
	if err != nil {
		return nil, err
	}
	if err := c.answer(resp); err != nil {
		resp.Body.Close(err)
		resp.Release()
		return nil, err
	}
	return resp, nil
}

// rewrite makes the request a gRPC call.
func (c *call) rewrite(req *message.Request, body message.Body, length int64) {
	h := &req.Header
	h.DelKnown(message.ContentLength)
	h.SetKnown(message.XEnvoyOriginalPath, req.Path)
	h.Add(originalMethod, req.Method)
	h.SetKnown(message.ContentType, grpc.ContentType)
	h.SetKnown(message.TE, "trailers")
	req.Method, req.Path = "POST", c.r.path
	req.Body, req.Length, req.Native = body, length, nil
}
