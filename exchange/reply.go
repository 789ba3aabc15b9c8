package exchange

import (
	"errors"
	"strconv"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// A Reply is Weft's own answer. It is part of the exchange, so that answering allocates nothing.
type Reply struct {
	resp message.Response
	body message.Bytes
	text []byte
}

// Reply turns an error into the response that answers it and notes flag and details in the record. The response's Local is the
// error.
func (x *Exchange) Reply(err error) *message.Response {
	e := AsError(err)
	x.Record.Flags |= e.Flag
	if x.Record.Details == "" || e.Flag != 0 || e.Status != 0 {
		x.Record.Details = e.Details
	}
	resp := x.Answer(e.Status, e.Body, e)
	x.decorate(resp, e)
	return resp
}

// decorate gives a local reply the headers that the route adds to every response.
func (x *Exchange) decorate(resp *message.Response, e *Error) {
	if e.Overloaded {
		resp.Header.SetKnown(message.XEnvoyOverloaded, "true")
	}
	if e.Says != "" {
		resp.Header.Set(e.Says, "true")
	}
	if x.Route == nil || x.Route.Target == nil {
		return
	}
	if x.Route.IncludeAttempt.Response && x.Record.Attempts > 0 {
		resp.Header.SetKnown(message.XEnvoyAttemptCount, strconv.Itoa(x.Record.Attempts))
	}
	if x.Weighted != nil && x.Weighted.ResponseHeaders != nil || len(x.Route.ResponseHeaders) > 0 {
		entry := x.Entry(resp)
		x.Route.RewriteResponse(&resp.Header, &entry, x.Weighted)
	}
}

// Answer makes a response of Weft's own: text/plain when there is a body. local is kept as its reason and may be nil for an
// answer that the configuration asks for.
func (x *Exchange) Answer(status int, body string, local error) *message.Response {
	r := &x.local
	r.resp.Header.Reset()
	r.resp.Status, r.resp.Local, r.resp.Native, r.resp.Tunnel = status, local, nil, false
	x.Reword(body, "text/plain")
	return &r.resp
}

// Reword replaces the body of the answer that Answer or Reply made.
func (x *Exchange) Reword(body, contentType string) {
	r := &x.local
	r.text = append(r.text[:0], body...)
	r.resp.Length = int64(len(body))
	r.resp.Body = message.NoBody
	r.resp.Header.DelKnown(message.ContentType)
	r.resp.Header.DelKnown(message.ContentLength)
	if len(body) > 0 {
		r.body = *message.NewBytes(r.text)
		r.resp.Body = &r.body
		r.resp.Header.AddKnown(message.ContentType, contentType)
	}
}

// TrailersOnly makes of the answer that Answer or Reply made one that gRPC clients understand: status 200, no body, the outcome in
// headers. A grpc-status that is there already stays.
func (x *Exchange) TrailersOnly() {
	r := &x.local
	h := &r.resp.Header
	status := grpc.FromHTTP(r.resp.Status)
	var e *Error
	if errors.As(r.resp.Local, &e) && e.GRPC != grpc.OK {
		status = e.GRPC
	}
	var scratch [256]byte
	coded := grpc.AppendMessage(scratch[:0], r.text)
	x.Reword("", "")
	r.resp.Status = 200
	h.AddKnown(message.ContentType, grpc.ContentType)
	if !h.HasKnown(message.GRPCStatus) {
		h.AddKnown(message.GRPCStatus, status.Number())
	}
	if len(coded) > 0 && x.Request.Method != "HEAD" {
		h.SetKnown(message.GRPCMessage, string(coded))
	}
}

// Wording returns the body of the answer that Answer or Reply made.
func (x *Exchange) Wording() string { return string(x.local.text) }

// Own reports whether resp is the answer that Answer or Reply made.
func (x *Exchange) Own(resp *message.Response) bool { return resp == &x.local.resp }
