package health

import (
	"context"
	"fmt"
	"io"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// mostBody is how much of a response is read so that its connection can be used again.
const mostBody = 64 << 10

// Freed implements protocol.Owner.
func (p *probe) Freed(protocol.Session) {}

// Resized implements protocol.Owner.
func (p *probe) Resized(protocol.Session) {}

// Gone implements protocol.Owner.
func (p *probe) Gone(protocol.Session, error) { p.spent = true }

// http checks by a request.
func (p *probe) http(ctx context.Context, t Target) outcome {
	if p.session == nil {
		s, err := p.c.Client.Open(ctx, p.conn, p)
		if err != nil {
			return outcome{err: err, network: true}
		}
		p.session = s
	}
	resp, err := p.session.RoundTrip(ctx, p.request(t))
	if err != nil {
		return outcome{err: err, network: true}
	}
	out := p.judge(resp)
	resp.Body.Close(nil)
	resp.Release()
	return out
}

// request builds the request. Its fields are the check's own and may be changed by request_headers_to_add.
func (p *probe) request(t Target) *message.Request {
	h := p.c.Config.HTTP
	r := &message.Request{Method: h.Method, Scheme: "http", Path: h.Path, Body: message.NoBody}
	switch {
	case t.Hostname != "":
		r.Authority = t.Hostname
	case h.Host != "":
		r.Authority = h.Host
	default:
		r.Authority = p.c.Cluster
	}
	r.Header.AddKnown(message.UserAgent, "Envoy/HC")
	for _, f := range h.Add {
		switch {
		case f.Name == ":authority" || f.Name == "host":
			r.Authority = f.Value
		case f.Append:
			r.Header.Add(f.Name, f.Value)
		default:
			r.Header.Set(f.Name, f.Value)
		}
	}
	for _, name := range h.Remove {
		r.Header.Del(name)
	}
	return r
}

// judge reads the response.
func (p *probe) judge(resp *message.Response) outcome {
	h := p.c.Config.HTTP
	out := outcome{
		degraded: resp.Header.HasKnown(message.XEnvoyDegraded),
		excluded: resp.Header.HasKnown(message.XEnvoyImmediateHealthCheckFail),
	}
	limit := h.BufferSize
	if limit == 0 {
		limit = mostBody
	}
	m := matcher{want: h.Receive}
	for read := 0; ; {
		b, err := resp.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return outcome{err: err, network: true}
		}
		if read < limit {
			m.feed(b[:min(len(b), limit-read)])
		}
		if read += len(b); read > mostBody {
			p.spent = true
			break
		}
	}
	switch {
	case !within(resp.Status, h.Expected):
		out.err = fmt.Errorf("health: status %d", resp.Status)
		out.retriable = within(resp.Status, h.Retriable)
	case !m.done():
		out.err = errPayload
	}
	return out
}
