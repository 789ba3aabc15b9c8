package exchange

import (
	"strings"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// RewriteRequest makes of a request what goes upstream: the header mutations of the weighted cluster (nil: none), the route, the
// virtual host and the table, then the host and the path. originals keeps the client's host and path in x-envoy-original-host and
// x-envoy-original-path where they change. It is done once, before the first attempt.
func (r *Route) RewriteRequest(req *message.Request, e *observe.Entry, w *Weighted, originals bool) {
	if w != nil {
		if w.RequestHeaders != nil {
			w.RequestHeaders.Apply(&req.Header, e)
		}
		if w.HostRewrite != "" {
			req.Authority = w.HostRewrite
		}
	}
	for _, m := range r.RequestHeaders {
		m.Apply(&req.Header, e)
	}
	if host, ok := r.NewHost(req); ok {
		r.SetHost(req, host, originals)
	}
	if path, ok := r.NewPath(req); ok {
		if originals {
			req.Header.SetKnown(message.XEnvoyOriginalPath, req.Path)
		}
		req.Path = path
	}
}

// RewriteResponse applies the header mutations of the weighted cluster (nil: none), the route, the virtual host and the table.
func (r *Route) RewriteResponse(h *message.Header, e *observe.Entry, w *Weighted) {
	if e.Response != nil {
		e.Record.Status = e.Response.Status // what %RESPONSE_CODE% is
	}
	if w != nil && w.ResponseHeaders != nil {
		w.ResponseHeaders.Apply(h, e)
	}
	for _, m := range r.ResponseHeaders {
		m.Apply(h, e)
	}
}

// NewHost returns what the route makes of the authority, and false when it leaves it alone. The name of the upstream host
// (HostRewrite.Auto) is known only to those who pick it.
func (r *Route) NewHost(req *message.Request) (string, bool) {
	host := ""
	switch {
	case r.HostRewrite.Literal != "":
		host = r.HostRewrite.Literal
	case r.HostRewrite.Header != "":
		host, _ = match.FirstOf(req, r.HostRewrite.Header)
	case r.HostRewrite.Regex != nil:
		host = r.HostRewrite.Regex.Apply(match.BarePath(req.Path))
	}
	return host, host != ""
}

// SetHost replaces the authority and, where the route says so, appends the old one to x-forwarded-host unless it is the last there.
// host must live as long as the request.
func (r *Route) SetHost(req *message.Request, host string, original bool) {
	old := req.Authority
	if r.AppendXFH && old != "" {
		appendForwardedHost(&req.Header, old)
	}
	if original && old != "" {
		req.Header.SetKnown(message.XEnvoyOriginalHost, old)
	}
	req.Authority = host
}

func appendForwardedHost(h *message.Header, host string) {
	have := h.Known(message.XForwardedHost)
	if have == "" {
		h.SetKnown(message.XForwardedHost, host)
		return
	}
	if last := have[strings.LastIndexByte(have, ',')+1:]; strings.TrimSpace(last) == host {
		return
	}
	var scratch [256]byte
	b := append(append(append(scratch[:0], have...), ','), host...)
	h.SetKnown(message.XForwardedHost, h.KeepBytes(b))
}

// NewPath returns what the route makes of the path, with the query as it was, and false when it leaves it alone. The path lives as
// long as the request.
func (r *Route) NewPath(req *message.Request) (string, bool) {
	var scratch [512]byte
	b, changed := r.appendRewritten(scratch[:0], req.Path)
	if !changed {
		return req.Path, false
	}
	return req.Header.KeepBytes(b), true
}

// appendRewritten appends the rewritten path; without a rewrite it appends nothing and returns false.
func (r *Route) appendRewritten(dst []byte, path string) ([]byte, bool) {
	prefix, regex := r.PrefixRewrite, r.RegexRewrite
	if d := r.Redirect; d != nil {
		prefix, regex = d.Prefix, d.Regex
	}
	switch {
	case regex != nil:
		bare := match.BarePath(path)
		return append(append(dst, regex.Apply(bare)...), path[len(bare):]...), true
	case prefix != "":
		n := min(len(r.Matched), len(path)) // another route may have been chosen for another path meanwhile
		if r.MatchedAll {
			n = len(match.BarePath(path))
		}
		return append(append(dst, prefix...), path[n:]...), true
	}
	return dst, false
}
