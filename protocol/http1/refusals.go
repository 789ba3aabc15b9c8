package http1

import "github.com/weftproxy/weft/protocol"

// Details of messages that are refused, as Envoy's codec has them.
const (
	codecError   = "http1.codec_error"
	invalidURL   = "http1.invalid_url"
	invalidChars = "http1.invalid_characters"
	invalidTE    = "http1.invalid_transfer_encoding"
	lengthDenied = "http1.content_length_not_allowed"
)

func malformed(reason string) *protocol.Error {
	return &protocol.Error{Status: 400, Details: codecError, Reason: reason}
}

func refuse(status int, details, reason string) *protocol.Error {
	return &protocol.Error{Status: status, Details: details, Reason: reason}
}

// Why a message is refused. Immutable: shared by all refusals, so that hostile peers cost no memory.
var (
	errBareLF        = malformed("line ends without CR")
	errHeadSize      = refuse(431, "http1.headers_too_large", "header section too large")
	errHeadCount     = refuse(431, "http1.too_many_headers", "too many fields")
	errHeadTimeout   = refuse(408, "request_header_timeout", "request head took too long")
	errRequestLine   = malformed("malformed request line")
	errMethod        = malformed("unknown or malformed method")
	errVersionSyntax = malformed("malformed protocol version")
	errVersion       = refuse(505, codecError, "unsupported protocol version")
	errOldVersion    = refuse(426, "low_version", "HTTP/1.0 is not accepted")
	errTarget        = refuse(400, invalidURL, "malformed request target")
	errAbsolute      = refuse(400, invalidURL, "absolute-form is not accepted")
	errPlainHTTPS    = refuse(403, "http1.https_url_on_plaintext_connection", "https URL on a connection without TLS")
	errAuthority     = refuse(400, "http.invalid_authority", "malformed host")
	errHostMismatch  = refuse(400, "http.invalid_authority", "host of the request target and Host differ")
	errHostTwice     = refuse(400, codecError, "more than one Host")
	errNoHost        = refuse(400, "missing_host_header", "no Host")
	errName          = malformed("malformed field name")
	errNoColon       = malformed("field line without colon")
	errFolded        = malformed("line folding")
	errValue         = refuse(400, invalidChars, "forbidden byte in a field value")
	errUnderscore    = &protocol.Error{Status: 400, Details: "http1.unexpected_underscore",
		Stat: "requests_rejected_with_underscores_in_headers", Reason: "underscore in a field name"}
	errLength       = malformed("malformed Content-Length")
	errLengthTwice  = malformed("more than one Content-Length")
	errBothLengths  = refuse(400, "http1.content_length_and_chunked_not_allowed", "Content-Length and Transfer-Encoding")
	errCoding       = refuse(501, invalidTE, "unsupported transfer coding")
	errCodingTwice  = refuse(501, invalidTE, "more than one Transfer-Encoding")
	errCodingHTTP10 = refuse(400, invalidTE, "Transfer-Encoding with HTTP/1.0")
	errConnectBody  = refuse(400, "http1.body_disallowed", "CONNECT with a body")
	errConnection   = refuse(400, "http1.connection_header_rejected", "Connection names too many fields, or one that is not for a hop")
	errExpectation  = refuse(417, codecError, "unknown expectation")
	errChunkSize    = malformed("malformed chunk size")
	errChunkExt     = malformed("malformed or too long chunk extension")
	errChunkEnd     = malformed("chunk data does not end with CRLF")
	errTrailerField = malformed("trailer section has a field that decides framing or routing")
	errStatusLine   = malformed("malformed status line")
	errNotAllowed   = refuse(502, lengthDenied, "response that has no body says how long it is")
	errTENotAllowed = refuse(502, "http1.transfer_encoding_not_allowed", "response that has no body is transfer-coded")
	errSwitch       = malformed("101 that was not asked for")
	errTooMany1xx   = malformed("too many informational responses")
	errUnfit        = malformed("message cannot be written as HTTP/1: forbidden byte")
	errTooLong      = malformed("body is longer than its length")
	errTooShort     = malformed("body is shorter than its length")
	errOutbound1xx  = malformed("informational status as a final response")
)

// soft are refusals of messages whose framing is known, after which a connection may go on.
func soft(e *protocol.Error) bool {
	return e == errNoHost || e == errUnderscore || e == errExpectation || e == errOldVersion
}
