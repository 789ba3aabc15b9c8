package grpc

import (
	"strings"
	"time"

	"github.com/weftproxy/weft/message"
)

// The content types of gRPC and gRPC-Web.
const (
	ContentType             = "application/grpc"
	WebContentType          = "application/grpc-web"
	WebProtoContentType     = "application/grpc-web+proto"
	WebTextContentType      = "application/grpc-web-text"
	WebTextProtoContentType = "application/grpc-web-text+proto"
)

// IsRequest reports whether the headers of a request say gRPC: application/grpc or application/grpc+something, not gRPC-Web.
func IsRequest(h *message.Header) bool {
	v := h.Known(message.ContentType)
	const n = len(ContentType)
	return len(v) >= n && v[:n] == ContentType && (len(v) == n || v[n] == '+')
}

// IsResponse reports whether a response is one of gRPC: with a body, status 200 and the content type; without, a grpc-status among
// its headers ("trailers only").
func IsResponse(status int, h *message.Header, bodyless bool) bool {
	if bodyless {
		return h.HasKnown(message.GRPCStatus)
	}
	return status == 200 && IsRequest(h)
}

// IsWeb reports whether the headers say gRPC-Web, binary or text, in one of the four types that Envoy knows. Parameters are ignored.
func IsWeb(h *message.Header) bool {
	t := mediaType(h.Known(message.ContentType))
	return isWebBinary(t) || isWebText(t)
}

// IsWebBinary reports whether a content type is gRPC-Web's without base64.
func IsWebBinary(contentType string) bool { return isWebBinary(mediaType(contentType)) }

// IsWebText reports whether a content type is gRPC-Web's with base64.
func IsWebText(contentType string) bool { return isWebText(mediaType(contentType)) }

func isWebBinary(t string) bool {
	return strings.EqualFold(t, WebProtoContentType) || strings.EqualFold(t, WebContentType)
}

func isWebText(t string) bool {
	return strings.EqualFold(t, WebTextContentType) || strings.EqualFold(t, WebTextProtoContentType)
}

func mediaType(v string) string {
	v, _, _ = strings.Cut(v, ";")
	return strings.TrimRight(v, " \t")
}

// ServiceMethod splits the path of a call, /package.Service/Method, a query aside. ok is false when it is not two segments.
func ServiceMethod(path string) (service, method string, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	service, method, ok = strings.Cut(strings.Trim(path, "/"), "/")
	method = strings.TrimLeft(method, "/")
	return service, method, ok && service != "" && method != "" && strings.IndexByte(method, '/') < 0
}

// maxTimeout is the largest number that grpc-timeout can say: eight digits.
const maxTimeout = 99_999_999

// ParseTimeout reads a grpc-timeout value: a number and one of the units H, M, S, m, u, n. Parts of a millisecond are rounded up, as Envoy
// does; what no Duration can hold becomes the longest one. ok is false for anything else.
func ParseTimeout(v string) (d time.Duration, ok bool) {
	if len(v) < 2 {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(v[:len(v)-1]) {
		if c -= '0'; c > 9 {
			return 0, false
		}
		if n = n*10 + int64(c); n > maxTimeout {
			return 0, false
		}
	}
	const longest = time.Duration(1<<63 - 1)
	switch v[len(v)-1] {
	case 'H':
		if n > int64(longest/time.Hour) {
			return longest, true
		}
		return time.Duration(n) * time.Hour, true
	case 'M':
		return time.Duration(n) * time.Minute, true
	case 'S':
		return time.Duration(n) * time.Second, true
	case 'm':
		return time.Duration(n) * time.Millisecond, true
	case 'u':
		return time.Duration((n+999)/1000) * time.Millisecond, true
	case 'n':
		return time.Duration((n+999_999)/1_000_000) * time.Millisecond, true
	}
	return 0, false
}
