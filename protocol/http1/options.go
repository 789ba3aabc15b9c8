package http1

import (
	"sync"
	"time"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// HeaderCase says how field names are written.
type HeaderCase uint8

// The spellings of field names.
const (
	PreserveCase HeaderCase = iota // as they came; names that Weft adds are in lower case
	ProperCase                     // Proper-Case-Words (header_key_format.proper_case_words)
	LowerCase
)

// Underscores is Envoy's headers_with_underscores_action.
type Underscores uint8

// What becomes of a request with an underscore in a field name.
const (
	AllowUnderscores Underscores = iota
	RejectUnderscores
	DropUnderscores // the field goes, the request goes on
)

// Defaults of limits that are zero.
const (
	DefaultMaxHeaderBytes = 60 << 10 // Envoy's max_request_headers_kb
	DefaultMaxHeaders     = 100      // Envoy's max_headers_count
)

// ServerOptions are the settings of a downstream codec. The comments name the fields of Envoy's HttpConnectionManager that they come
// from.
type ServerOptions struct {
	MaxHeaderBytes     int           // max_request_headers_kb, in bytes; 0: DefaultMaxHeaderBytes. It bounds trailers, too
	MaxHeaders         int           // max_headers_count; 0: DefaultMaxHeaders
	AcceptHTTP10       bool          // accept_http_10; otherwise HTTP/1.0 is answered with 426
	DefaultHost        string        // default_host_for_http_10
	AllowAbsoluteURL   bool          // allow_absolute_url (true where Envoy's field is unset); otherwise absolute-form is refused
	AllowCustomMethods bool          // allow_custom_methods; otherwise only the methods that Envoy knows
	EnableTrailers     bool          // enable_trailers; otherwise trailers are checked and dropped, both ways
	AllowChunkedLength bool          // allow_chunked_length: Transfer-Encoding wins over Content-Length instead of 400
	ProxyContinue      bool          // proxy_100_continue: the codec sends no 100 of its own
	KeepAfterRefusal   bool          // override_stream_error_on_invalid_http_message: a refusal keeps the connection where framing is sound
	Underscores        Underscores   // headers_with_underscores_action
	HeaderCase         HeaderCase    // header_key_format, of responses
	IgnoreUpgrades     []string      // lower-case tokens of Upgrade that are treated as if they were not there; "h2c" always is
	IdleTimeout        time.Duration // idle_timeout; 0: none
	HeadersTimeout     time.Duration // request_headers_timeout, from a request's first byte; 0: none but IdleTimeout
	MaxDuration        time.Duration // max_connection_duration; 0: none
	MaxRequests        int64         // max_requests_per_connection; 0: any number
	DelayedClose       time.Duration // delayed_close_timeout: how long to wait for the peer's end after the last response; 0: do not
	ParkAfter          time.Duration // idle this long, a socket is given back with conn.ErrParked; 0: never
	PeekAfter          time.Duration // an exchange that takes longer watches whether the client is still there; 0: never
	DroppedUnderscore  func()        // called for each field that DropUnderscores dropped; may be nil
}

// ClientOptions are the settings of an upstream codec. The comments name the fields of Envoy's Http1ProtocolOptions.
type ClientOptions struct {
	MaxHeaderBytes        int           // of response heads (max_response_headers_kb), in bytes; 0: DefaultMaxHeaderBytes
	MaxHeaders            int           // max_headers_count; 0: DefaultMaxHeaders
	EnableTrailers        bool          // enable_trailers
	AllowChunkedLength    bool          // allow_chunked_length
	SendFullyQualifiedURL bool          // send_fully_qualified_url: absolute-form request targets
	HeaderCase            HeaderCase    // header_key_format, of requests
	ContinueTimeout       time.Duration // how long a request with "Expect: 100-continue" waits before it sends its body; 0: 1 s
}

// A Server decodes requests. Safe for concurrent use.
type Server struct {
	o       ServerOptions // immutable
	limits  limits        // immutable
	streams sync.Pool     // of *stream
}

// NewServer returns a codec with those settings.
func NewServer(o ServerOptions) *Server {
	return &Server{o: o, limits: newLimits(o.MaxHeaderBytes, o.MaxHeaders, o.EnableTrailers)}
}

// A Client opens sessions. Safe for concurrent use.
type Client struct {
	o      ClientOptions // immutable
	limits limits        // immutable
	calls  sync.Pool     // of *call
}

// NewClient returns a codec with those settings.
func NewClient(o ClientOptions) *Client {
	if o.ContinueTimeout == 0 {
		o.ContinueTimeout = time.Second
	}
	return &Client{o: o, limits: newLimits(o.MaxHeaderBytes, o.MaxHeaders, o.EnableTrailers)}
}

// limits bound a header section or trailer section.
type limits struct {
	bytes, fields int
	trailers      bool // hand trailers on
}

func newLimits(bytes, fields int, trailers bool) limits {
	if bytes <= 0 {
		bytes = DefaultMaxHeaderBytes
	}
	if fields <= 0 {
		fields = DefaultMaxHeaders
	}
	return limits{bytes, fields, trailers}
}

var (
	_ protocol.Server = (*Server)(nil)
	_ protocol.Client = (*Client)(nil)
	_ scope.Waker     = (*session)(nil)
)
