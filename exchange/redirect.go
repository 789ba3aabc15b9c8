package exchange

import (
	"strconv"
	"strings"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
)

// Locates reports whether an answer of that status carries a Location: 201 and 3xx (RFC 9110 section 10.2.2).
func Locates(status int) bool { return status == 201 || status >= 300 && status < 400 }

// AppendLocation appends the Location of the route's redirect. A direct response locates the request's own URI.
func (r *Route) AppendLocation(dst []byte, req *message.Request) []byte {
	d := r.Redirect
	if d == nil {
		d = &Redirect{}
	}
	scheme := req.Scheme
	switch {
	case d.Scheme != "":
		scheme = d.Scheme
	case d.HTTPS:
		scheme = "https"
	}
	dst = append(append(dst, scheme...), "://"...)
	if d.Host != "" {
		dst = append(dst, d.Host...)
	} else {
		dst = append(dst, d.requestHost(req, scheme)...)
	}
	if d.Port != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(d.Port), 10)
	}
	return d.appendPath(dst, r, req)
}

// requestHost is the request's authority. Its port goes when another is given, and when it is the default one of a scheme that
// changes.
func (d *Redirect) requestHost(req *message.Request, scheme string) string {
	host := req.Authority
	if d.KeepPort {
		return host
	}
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || host[0] == '[' && host[colon-1] != ']' {
		return host
	}
	protocol := req.Header.Known(message.XForwardedProto)
	if protocol == "" {
		protocol = req.Scheme
	}
	port := host[colon:]
	if d.Port != 0 || scheme != protocol &&
		(port == ":443" && match.EqualFold(protocol, "https") || port == ":80" && match.EqualFold(protocol, "http")) {
		return host[:colon]
	}
	return host
}

// appendPath appends the path and query to go to. A query that is part of path_redirect stands for itself.
func (d *Redirect) appendPath(dst []byte, r *Route, req *message.Request) []byte {
	begin := len(dst)
	if d.Path != "" {
		dst = append(dst, d.Path...)
		if strings.IndexByte(d.Path, '?') >= 0 {
			return slash(dst, begin)
		}
		if i := strings.IndexByte(req.Path, '?'); i >= 0 && !d.StripQuery {
			dst = append(dst, req.Path[i:]...)
		}
		return slash(dst, begin)
	}
	dst, changed := r.appendRewritten(dst, req.Path)
	if !changed {
		dst = append(dst, req.Path...)
	}
	dst = slash(dst, begin)
	if d.StripQuery {
		for i := begin; i < len(dst); i++ {
			if dst[i] == '?' {
				return dst[:i]
			}
		}
	}
	return dst
}

// slash makes dst[begin:] begin with a slash.
func slash(dst []byte, begin int) []byte {
	if begin < len(dst) && dst[begin] == '/' {
		return dst
	}
	dst = append(dst, 0)
	copy(dst[begin+1:], dst[begin:])
	dst[begin] = '/'
	return dst
}
