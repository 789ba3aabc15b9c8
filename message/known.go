package message

// Known is a one-byte identifier of a well-known field name; zero means any other name. Codecs assign it while parsing, so
// that the rest of the data path compares bytes instead of strings.
type Known uint8

// The well-known field names, in the lower-case spelling of HTTP/2.
const (
	Unknown Known = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	ContentType
	ContentEncoding
	UserAgent
	Accept
	AcceptEncoding
	AcceptLanguage
	Authorization
	Cookie
	SetCookie
	CacheControl
	Date
	ETag
	Expect
	Expires
	IfModifiedSince
	IfNoneMatch
	KeepAlive
	LastModified
	Location
	Origin
	Pragma
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Range
	Referer
	RetryAfter
	Server
	TE
	Trailer
	Upgrade
	Vary
	Via
	WWWAuthenticate
	GRPCStatus
	GRPCMessage
	GRPCTimeout
	HTTP2Settings
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XForwardedClientCert
	XRequestID
	XEnvoyInternal
	XEnvoyExternalAddress
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDownstreamServiceCluster
	XEnvoyDownstreamServiceNode
	XEnvoyExpectedRqTimeoutMs
	XEnvoyOriginalPath
	XEnvoyOriginalHost
	XEnvoyRetryOn
	XEnvoyRetryGRPCOn
	XEnvoyMaxRetries
	XEnvoyUpstreamAltStatName
	XEnvoyUpstreamCanary
	XEnvoyUpstreamRqTimeoutMs
	XEnvoyUpstreamRqPerTryTimeoutMs
	XEnvoyUpstreamRqTimeoutAltResponse
	XEnvoyUpstreamServiceTime
	XEnvoyUpstreamHealthCheckedCluster
	XEnvoyOverloaded
	XEnvoyRateLimited
	XEnvoyRetriableStatusCodes
	XEnvoyRetriableHeaderNames
	XEnvoyIPTags
	XEnvoyForceTrace
	XEnvoyHedgeOnPerTryTimeout
	XEnvoyLocalOverloaded
	XEnvoyDegraded
	XEnvoyImmediateHealthCheckFail
	XClientTraceID
	XB3TraceID
	XB3SpanID
	XB3Sampled
	Traceparent
	Tracestate
	AltSvc
	knownCount
)

// knownNames holds the spelling of each Known. Immutable.
var knownNames = [knownCount]string{
	Host: "host", Connection: "connection", ContentLength: "content-length", TransferEncoding: "transfer-encoding",
	ContentType: "content-type", ContentEncoding: "content-encoding", UserAgent: "user-agent", Accept: "accept",
	AcceptEncoding: "accept-encoding", AcceptLanguage: "accept-language", Authorization: "authorization", Cookie: "cookie",
	SetCookie: "set-cookie", CacheControl: "cache-control", Date: "date", ETag: "etag", Expect: "expect", Expires: "expires",
	IfModifiedSince: "if-modified-since", IfNoneMatch: "if-none-match", KeepAlive: "keep-alive", LastModified: "last-modified",
	Location: "location", Origin: "origin", Pragma: "pragma", ProxyAuthenticate: "proxy-authenticate",
	ProxyAuthorization: "proxy-authorization", ProxyConnection: "proxy-connection", Range: "range", Referer: "referer",
	RetryAfter: "retry-after", Server: "server", TE: "te", Trailer: "trailer", Upgrade: "upgrade", Vary: "vary", Via: "via",
	WWWAuthenticate: "www-authenticate", GRPCStatus: "grpc-status", GRPCMessage: "grpc-message", GRPCTimeout: "grpc-timeout",
	HTTP2Settings: "http2-settings", XForwardedFor: "x-forwarded-for", XForwardedProto: "x-forwarded-proto",
	XForwardedHost: "x-forwarded-host", XForwardedPort: "x-forwarded-port", XForwardedClientCert: "x-forwarded-client-cert",
	XRequestID: "x-request-id", XEnvoyInternal: "x-envoy-internal", XEnvoyExternalAddress: "x-envoy-external-address",
	XEnvoyAttemptCount: "x-envoy-attempt-count", XEnvoyDecoratorOperation: "x-envoy-decorator-operation",
	XEnvoyDownstreamServiceCluster: "x-envoy-downstream-service-cluster",
	XEnvoyDownstreamServiceNode:    "x-envoy-downstream-service-node",
	XEnvoyExpectedRqTimeoutMs:      "x-envoy-expected-rq-timeout-ms", XEnvoyOriginalPath: "x-envoy-original-path",
	XEnvoyOriginalHost: "x-envoy-original-host", XEnvoyRetryOn: "x-envoy-retry-on", XEnvoyRetryGRPCOn: "x-envoy-retry-grpc-on",
	XEnvoyMaxRetries: "x-envoy-max-retries", XEnvoyUpstreamAltStatName: "x-envoy-upstream-alt-stat-name",
	XEnvoyUpstreamCanary: "x-envoy-upstream-canary", XEnvoyUpstreamRqTimeoutMs: "x-envoy-upstream-rq-timeout-ms",
	XEnvoyUpstreamRqPerTryTimeoutMs:    "x-envoy-upstream-rq-per-try-timeout-ms",
	XEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	XEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	XEnvoyUpstreamHealthCheckedCluster: "x-envoy-upstream-healthchecked-cluster",
	XEnvoyOverloaded:                   "x-envoy-overloaded", XEnvoyRateLimited: "x-envoy-ratelimited",
	XEnvoyRetriableStatusCodes: "x-envoy-retriable-status-codes", XEnvoyRetriableHeaderNames: "x-envoy-retriable-header-names",
	XEnvoyIPTags: "x-envoy-ip-tags", XEnvoyForceTrace: "x-envoy-force-trace",
	XEnvoyHedgeOnPerTryTimeout: "x-envoy-hedge-on-per-try-timeout", XEnvoyLocalOverloaded: "x-envoy-local-overloaded",
	XEnvoyDegraded: "x-envoy-degraded", XEnvoyImmediateHealthCheckFail: "x-envoy-immediate-health-check-fail",
	XClientTraceID: "x-client-trace-id", XB3TraceID: "x-b3-traceid", XB3SpanID: "x-b3-spanid", XB3Sampled: "x-b3-sampled",
	Traceparent: "traceparent", Tracestate: "tracestate", AltSvc: "alt-svc",
}

// String returns the lower-case field name, "" for Unknown.
func (k Known) String() string { return knownNames[k] }

// knownSlots is an open-addressing table from knownHash to Known, filled once. Immutable.
var knownSlots = fillKnownSlots()

const knownMask = 511

func fillKnownSlots() (t [knownMask + 1]Known) {
	for k := Unknown + 1; k < knownCount; k++ {
		i := knownHash(knownNames[k])
		for t[i] != Unknown {
			i = (i + 1) & knownMask
		}
		t[i] = k
	}
	return t
}

// knownHash mixes the length and four characters; setting bit 5 folds the case of letters.
func knownHash[S string | []byte](s S) uint32 {
	n := len(s)
	h := uint32(n)*0x9E3779B1 + uint32(s[0]|0x20)*0x85EBCA6B + uint32(s[n-1]|0x20)*0xC2B2AE35 +
		uint32(s[n/2]|0x20)*0x27D4EB2F + uint32(s[n*3/4]|0x20)*0x165667B1
	return (h ^ h>>15) & knownMask
}

// LookupKnown returns the identifier of a field name in any case, Unknown when it is not a well-known one.
func LookupKnown[S string | []byte](name S) Known {
	if len(name) < 2 || len(name) > 48 {
		return Unknown
	}
	for i := knownHash(name); knownSlots[i] != Unknown; i = (i + 1) & knownMask {
		if k := knownSlots[i]; equalFold(knownNames[k], name) {
			return k
		}
	}
	return Unknown
}

// equalFold compares ASCII field names; lower is already in lower case.
func equalFold[S string | []byte](lower string, s S) bool {
	if len(lower) != len(s) {
		return false
	}
	for i := 0; i < len(lower); i++ {
		c := s[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
