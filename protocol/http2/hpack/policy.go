package hpack

import "github.com/weftproxy/weft/message"

// A policy says how the encoder treats a well-known field.
type policy uint8

const (
	repeating policy = iota // worth an entry
	doubtful                // worth an entry when the same value comes a second time
	changing                // a literal without indexing: it rarely comes twice
	never                   // a literal that is never indexed: a secret (RFC 7541 section 7.1.3)
)

// policies holds the policy of each well-known field. Immutable.
var policies = [256]policy{
	message.Authorization:      never,
	message.ProxyAuthorization: never,
	message.SetCookie:          never,

	message.Cookie:                doubtful,
	message.GRPCMessage:           doubtful,
	message.Range:                 doubtful,
	message.Referer:               doubtful,
	message.Tracestate:            doubtful,
	message.XEnvoyExternalAddress: doubtful,
	message.XEnvoyIPTags:          doubtful,
	message.XEnvoyOriginalPath:    doubtful,
	message.XForwardedClientCert:  doubtful,

	message.ContentLength:             changing,
	message.Date:                      changing,
	message.ETag:                      changing,
	message.Expires:                   changing,
	message.GRPCTimeout:               changing,
	message.IfModifiedSince:           changing,
	message.IfNoneMatch:               changing,
	message.LastModified:              changing,
	message.Location:                  changing,
	message.Traceparent:               changing,
	message.XB3SpanID:                 changing,
	message.XB3TraceID:                changing,
	message.XClientTraceID:            changing,
	message.XEnvoyExpectedRqTimeoutMs: changing,
	message.XEnvoyUpstreamServiceTime: changing,
	message.XForwardedFor:             changing,
	message.XRequestID:                changing,
}
