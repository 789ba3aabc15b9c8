package format

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// A field is a header that an operator reads: an ordinary one, or one that messages keep outside their header sections.
type field struct {
	name   string // "": none
	pseudo pseudo
}

type pseudo uint8

const (
	ordinary pseudo = iota
	pseudoMethod
	pseudoPath
	pseudoAuthority
	pseudoScheme
	pseudoProtocol
	pseudoStatus
)

// pseudos maps names in lower case. Immutable.
var pseudos = map[string]pseudo{":method": pseudoMethod, ":path": pseudoPath, ":authority": pseudoAuthority, "host": pseudoAuthority,
	":scheme": pseudoScheme, ":protocol": pseudoProtocol, "upgrade": pseudoProtocol, ":status": pseudoStatus}

func newField(name string) field {
	name = strings.ToLower(name)
	return field{name, pseudos[name]}
}

// headerOperators read the messages' headers. Immutable.
var headerOperators = map[string]definition{
	"REQ":                     {needArgs | mayTruncate, headers(requestHeader)},
	"REQUEST_HEADER":          {needArgs | mayTruncate, headers(requestHeader)},
	"STREAM_INFO_REQ":         {needArgs | mayTruncate, headers(requestHeader)},
	"RESP":                    {needArgs | mayTruncate, headers(responseHeader)},
	"RESPONSE_HEADER":         {needArgs | mayTruncate, headers(responseHeader)},
	"TRAILER":                 {needArgs | mayTruncate, headers(trailer)},
	"RESPONSE_TRAILER":        {needArgs | mayTruncate, headers(trailer)},
	"REQ_WITHOUT_QUERY":       {needArgs | mayTruncate, headers(requestWithoutQuery)},
	"QUERY_PARAM":             {needArgs | mayTruncate, compileQueryParam},
	"PATH":                    {mayArgs | mayTruncate, compilePath},
	"GRPC_STATUS":             {mayArgs, compileGRPCStatus},
	"GRPC_STATUS_NUMBER":      {noArgs, compileGRPCNumber},
	"REQUEST_HEADERS_BYTES":   number(func(e *observe.Entry) (uint64, bool) { return RequestSize(e.Request), true }),
	"RESPONSE_HEADERS_BYTES":  number(func(e *observe.Entry) (uint64, bool) { return ResponseSize(e.Response), true }),
	"RESPONSE_TRAILERS_BYTES": number(func(e *observe.Entry) (uint64, bool) { return headerSize(e.Trailer), true }),
}

type lookup func(f field, e *observe.Entry) (string, bool)

// headers compiles an operator with the parameters X?Y: header X, or Y where there is no X.
func headers(find lookup) func(command, Options) (*operator, error) {
	run := func(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		v, ok := find(o.main, e)
		if !ok && o.alt.name != "" {
			v, ok = find(o.alt, e)
		}
		return append(dst, v...), ok
	}
	return func(c command, _ Options) (*operator, error) {
		main, alt, _ := strings.Cut(c.args, "?")
		if strings.ContainsRune(alt, '?') {
			return nil, errors.New("takes one alternative header at most")
		}
		if strings.ContainsAny(c.args, "\r\n\x00") {
			return nil, errors.New("a header name contains a line break")
		}
		if main == "" {
			return nil, errors.New("has an empty header name")
		}
		return &operator{run: run, peer: true, main: newField(main), alt: newField(alt)}, nil
	}
}

func requestHeader(f field, e *observe.Entry) (string, bool) {
	r := e.Request
	if r == nil {
		return "", false
	}
	v := ""
	switch f.pseudo {
	case ordinary:
		return r.Header.Lookup(f.name)
	case pseudoMethod:
		v = r.Method
	case pseudoPath:
		v = r.Path
	case pseudoAuthority:
		v = r.Authority
	case pseudoScheme:
		v = r.Scheme
	case pseudoProtocol:
		v = r.Upgrade
	}
	return v, v != ""
}

func requestWithoutQuery(f field, e *observe.Entry) (string, bool) {
	v, ok := requestHeader(f, e)
	v, _, _ = strings.Cut(v, "?")
	return v, ok
}

func responseHeader(f field, e *observe.Entry) (string, bool) {
	r := e.Response
	if r == nil {
		return "", false
	}
	if f.pseudo == pseudoStatus {
		return statusText(r.Status), r.Status != 0
	}
	return r.Header.Lookup(f.name)
}

// statusText is strconv.Itoa without an allocation for the statuses there are.
func statusText(status int) string {
	if status < 100 || status > 999 {
		return strconv.Itoa(status)
	}
	i := (status - 100) * 3
	return statusDigits[i : i+3]
}

// statusDigits is "100101102...999". Immutable.
var statusDigits = func() string {
	var b strings.Builder
	for i := 100; i < 1000; i++ {
		b.WriteString(strconv.Itoa(i))
	}
	return b.String()
}()

func trailer(f field, e *observe.Entry) (string, bool) {
	if e.Trailer == nil {
		return "", false
	}
	return e.Trailer.Lookup(f.name)
}

func headerSize(h *message.Header) uint64 {
	if h == nil {
		return 0
	}
	return uint64(h.Size())
}

// RequestSize is the size of a request's header in bytes, 0 of nil. It counts the pseudo-headers, as Envoy does.
func RequestSize(r *message.Request) uint64 {
	if r == nil {
		return 0
	}
	n := r.Header.Size() + len(":method") + len(r.Method) + len(":path") + len(r.Path) + len(":authority") + len(r.Authority)
	return uint64(n + len(":scheme") + len(r.Scheme))
}

// ResponseSize is the size of a response's header in bytes with its status, 0 of nil.
func ResponseSize(r *message.Response) uint64 {
	if r == nil {
		return 0
	}
	return uint64(r.Header.Size() + len(":status") + 3)
}

// compileQueryParam compiles %QUERY_PARAM(X):Z%: the first value of query parameter X, decoded.
func compileQueryParam(c command, _ Options) (*operator, error) {
	return &operator{run: runQueryParam, peer: true, text: c.args}, nil
}

func runQueryParam(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	if e.Request == nil {
		return dst, false
	}
	_, query, _ := strings.Cut(e.Request.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if unescape(key) == o.text {
			return append(dst, unescape(value)...), true
		}
	}
	return dst, false
}

func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	if u, err := url.PathUnescape(s); err == nil { // a plus sign stays a plus sign
		return u
	}
	return s
}

// The ways in which %PATH(X:Y):Z% chooses.
const (
	pathOriginal uint8 = 1 << iota
	pathCurrent
	pathNoQuery
)

func compilePath(c command, _ Options) (*operator, error) {
	op := &operator{run: runPath, peer: true, flags: pathOriginal | pathCurrent}
	query, which, _ := strings.Cut(c.args, ":")
	switch which {
	case "", "ORIG_OR_PATH":
	case "ORIG":
		op.flags = pathOriginal
	case "PATH":
		op.flags = pathCurrent
	default:
		return nil, errors.New("the second parameter must be ORIG, PATH or ORIG_OR_PATH")
	}
	switch query {
	case "", "WQ":
	case "NQ":
		op.flags |= pathNoQuery
	default:
		return nil, errors.New("the first parameter must be WQ or NQ")
	}
	return op, nil
}

func runPath(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	if e.Request == nil {
		return dst, false
	}
	v := ""
	if o.flags&pathOriginal != 0 {
		v = e.Request.Header.Known(message.XEnvoyOriginalPath)
	}
	if v == "" && o.flags&pathCurrent != 0 {
		v = e.Request.Path
	}
	if o.flags&pathNoQuery != 0 {
		v, _, _ = strings.Cut(v, "?")
	}
	return append(dst, v...), v != ""
}
