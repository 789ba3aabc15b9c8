package message

import "errors"

// A Request is what one side asks of the other, whatever the protocol. An RPC call fills the same fields: Authority is the
// service, Path is /service/method, Header holds the attachments. Strings are borrowed (see Header) or constant.
type Request struct {
	Method, Scheme, Authority, Path string
	Upgrade                         string // "websocket", ...: both bodies become a tunnel; "connect" for a CONNECT request
	Header                          Header // without Host (see Authority), Connection and framing fields: codecs own those
	Body                            Body   // never nil
	Length                          int64  // of the body in bytes; -1 when unknown, 0 when there is none
	Native                          any    // the codec's own frame, resent as it is (id patched) if nothing was edited
	Informer                        Informer
}

// An Informer receives the informational (1xx) responses that arrive before the final one. The header is borrowed for the
// duration of the call.
type Informer interface {
	Inform(status int, h *Header) error
}

// A Response answers a Request. Status is an HTTP status; RPC codecs map theirs.
type Response struct {
	Status int
	Header Header
	Body   Body  // never nil; whoever gets the Response closes it
	Length int64 // of the body in bytes; -1 when unknown, 0 when there is none
	Native any
	Local  error // why Weft answered itself; nil when the upstream did
	Tunnel bool  // 101, or 2xx to CONNECT: the bodies of both sides are raw bytes from here on
	Owner  Releaser
}

// A Releaser takes back the memory of a response that it made.
type Releaser interface{ Release(*Response) }

// Release gives the response's memory back to the codec that made it; what was borrowed from it is invalid from here on. Whoever got
// the response may call it once, after the body is closed and after the last look at the header (the access log's). A response that is
// not released is left to the garbage collector.
func (r *Response) Release() {
	if o := r.Owner; o != nil {
		r.Owner = nil
		o.Release(r)
	}
}

// ErrBodyClosed is what Next returns after Close without a cause.
var ErrBodyClosed = errors.New("message: body closed")
