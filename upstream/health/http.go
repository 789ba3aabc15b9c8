package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// mostBody is how much of a response is read so that its connection can be used again.
const mostBody = 64 << 10

// Freed implements protocol.Owner.
func (p *probe) Freed(protocol.Session) {}

// Resized implements protocol.Owner.
func (p *probe) Resized(protocol.Session) {}

// Gone implements protocol.Owner. A check that is under way goes on, unless the server says that the connection ends because of an error: as
// with Envoy the check fails then, and the next one gets a new connection.
func (p *probe) Gone(_ protocol.Session, cause error) {
	p.spent.Store(true)
	var fault *protocol.ResetError
	if stop := p.stop.Load(); stop != nil && errors.As(cause, &fault) {
		(*stop)(cause)
	}
}

// ask checks by a request, whose response judge reads.
func (p *probe) ask(ctx context.Context, r *message.Request, judge func(*message.Response) outcome) outcome {
	check, stop := context.WithCancelCause(ctx)
	p.stop.Store(&stop)
	defer func() {
		p.stop.Store(nil)
		stop(nil)
	}()
	if p.session == nil {
		s, err := p.c.Client.Open(ctx, p.conn, p)
		if err != nil {
			return outcome{err: err, network: true}
		}
		p.session = s
	}
	resp, err := p.session.RoundTrip(check, r)
	if err != nil {
		return outcome{err: err, network: true}
	}
	out := judge(resp)
	resp.Body.Close(nil)
	resp.Release()
	return out
}

// request builds the request. Its fields are the check's own and may be changed by request_headers_to_add.
func (p *probe) request(t Target) *message.Request {
	h := p.c.Config.HTTP
	r := &message.Request{Method: h.Method, Scheme: t.scheme(), Path: h.Path, Body: message.NoBody}
	r.Authority = p.authority(t, h.Host)
	r.Header.AddKnown(message.UserAgent, "Envoy/HC")
	add(r, h.Add)
	for _, name := range h.Remove {
		r.Header.Del(name)
	}
	return r
}

// authority is whom a request is addressed to: the host by its own name, else by the one that the check configures.
func (p *probe) authority(t Target, configured string) string {
	switch {
	case t.Hostname != "":
		return t.Hostname
	case configured != "":
		return configured
	}
	return p.c.Cluster
}

// add gives a request the fields that the check configures.
func add(r *message.Request, fields []Field) {
	for _, f := range fields {
		switch {
		case f.Name == ":authority" || strings.EqualFold(f.Name, "host"):
			r.Authority = f.Value
		case f.Append:
			r.Header.Add(f.Name, f.Value)
		default:
			r.Header.Set(f.Name, f.Value)
		}
	}
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
			p.spent.Store(true)
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
