package als

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

// An httpLog sends an HTTPAccessLogEntry for each exchange.
type httpLog struct {
	stream *stream
	tags   []tag
	// Names of additional headers to log, lower case.
	request, response, trailers []string
}

// Log implements accesslog.Writer.
func (l *httpLog) Log(e *observe.Entry) {
	if e.Record == nil {
		return
	}
	s := l.stream.set.take()
	b, at := begin((*s)[:0], 1) // an entry of the list
	b = appendCommon(b, 1, e, l.tags)
	b = appendUint(b, 2, httpVersion(e.Record.Protocol))
	b = l.appendRequest(b, e)
	b = l.appendResponse(b, e)
	*s = end(b, at)
	l.stream.add(*s)
	l.stream.set.put(s)
}

// httpVersion is the number of an HTTPVersion.
func httpVersion(protocol string) uint64 {
	switch protocol {
	case "HTTP/1.0":
		return 1
	case "HTTP/1.1":
		return 2
	case "HTTP/2":
		return 3
	case "HTTP/3":
		return 4
	}
	return 0
}

// appendRequest appends HTTPRequestProperties.
func (l *httpLog) appendRequest(b []byte, e *observe.Entry) []byte {
	b, at := begin(b, 3)
	r := e.Record
	if q := e.Request; q != nil {
		h := &q.Header
		b = appendUint(b, 1, uint64(corev3.RequestMethod_value[q.Method]))
		b = appendText(b, 2, q.Scheme)
		b = appendText(b, 3, q.Authority)
		b = appendText(b, 5, q.Path)
		b = appendText(b, 6, h.Known(message.UserAgent))
		b = appendText(b, 7, h.Known(message.Referer))
		b = appendText(b, 8, h.Known(message.XForwardedFor))
		b = appendText(b, 9, h.Known(message.XRequestID))
		b = appendText(b, 10, h.Known(message.XEnvoyOriginalPath))
		b = appendUint(b, 11, format.RequestSize(q))
		for _, name := range l.request {
			if v, ok := requestValue(q, name); ok {
				b = appendPair(b, 13, name, v)
			}
		}
	}
	b = appendUint(b, 12, r.BytesIn)
	b = appendUint(b, 14, r.UpstreamHeadOut)
	b = appendUint(b, 15, r.HeadIn)
	return end(b, at)
}

// appendResponse appends HTTPResponseProperties.
func (l *httpLog) appendResponse(b []byte, e *observe.Entry) []byte {
	b, at := begin(b, 4)
	r := e.Record
	if r.Status != 0 {
		b = appendWrapped(b, 1, uint64(r.Status))
	}
	if p := e.Response; p != nil {
		b = appendUint(b, 2, format.ResponseSize(p))
		for _, name := range l.response {
			if name == ":status" {
				b = appendPair(b, 4, name, strconv.Itoa(p.Status))
			} else {
				b = appendHeader(b, 4, &p.Header, name)
			}
		}
	}
	b = appendUint(b, 3, r.BytesOut)
	if e.Trailer != nil {
		for _, name := range l.trailers {
			b = appendHeader(b, 5, e.Trailer, name)
		}
	}
	b = appendText(b, 6, r.Details)
	b = appendUint(b, 7, r.UpstreamHeadIn)
	b = appendUint(b, 8, r.HeadOut)
	return end(b, at)
}

// appendHeader appends a header with all its values, nothing if it is not there.
func appendHeader(b []byte, field protowire.Number, h *message.Header, name string) []byte {
	v, ok := headerValue(h, name)
	if !ok {
		return b
	}
	return appendPair(b, field, name, v)
}

// headerValue is a header, its values joined by commas.
func headerValue(h *message.Header, name string) (string, bool) {
	if h.Count(name) < 2 {
		return h.Lookup(name)
	}
	return strings.Join(slices.Collect(h.Values(name)), ","), true
}

// requestValue is a header of a request, or a pseudo-header.
func requestValue(q *message.Request, name string) (string, bool) {
	v := ""
	switch name {
	case ":method":
		v = q.Method
	case ":scheme":
		v = q.Scheme
	case ":authority", "host":
		v = q.Authority
	case ":path":
		v = q.Path
	default:
		if strings.HasPrefix(name, ":") {
			return "", false
		}
		return headerValue(&q.Header, name)
	}
	return v, v != ""
}
