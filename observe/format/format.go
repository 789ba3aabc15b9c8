// Package format compiles Envoy's substitution format strings, "%RESPONSE_CODE% %REQ(:PATH)%", and appends what they stand for.
//
// A format is text, or a JSON object whose values are format strings. Operators that Envoy has and Weft has not are refused
// by name when a format is compiled; at run time nothing fails: what is not known prints as "-", as null in typed JSON.
package format

import "github.com/weftproxy/weft/observe"

// Envoy's default access log formats.
const (
	DefaultHTTP = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" " +
		"%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% " +
		"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% " +
		"\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" " +
		"\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
	// DefaultTCP is Envoy's as well: it has one default for both, whose HTTP parts print as "-" for a TCP connection.
	DefaultTCP = DefaultHTTP
)

// Options say how a format prints what is not known.
type Options struct {
	// OmitEmpty prints nothing instead of "-", and leaves members out of JSON objects. Header values are compiled with it.
	OmitEmpty bool
	// OneLine escapes control characters of every operator of a text, not only where a peer may have sent them. Header values are
	// compiled with it as well: no value ends its field.
	OneLine bool
	// Strings prints every value of a JSON format as a string.
	Strings bool
	// Getenv looks up %ENVIRONMENT(X)% at compile time; nil: no variable is set.
	Getenv func(string) (string, bool)
	// Hostname is what %HOSTNAME% prints; "" prints as unknown.
	Hostname string
	// ReadFile reads text_format_source.filename; nil: files are refused.
	ReadFile func(string) ([]byte, error)
}

// A Format is a compiled format string, or a JSON object. Immutable; safe for concurrent use.
type Format struct {
	parts []part
	json  *node // the root object; nil for text
	empty string
}

// A part is literal text, or an operator.
type part struct {
	text string
	op   *operator // nil: text
}

// Compile compiles a text format. An error names the operator and its position, in bytes from 0.
func Compile(s string, o Options) (*Format, error) {
	parts, err := parse(s, o)
	if err != nil {
		return nil, err
	}
	f := &Format{parts: parts}
	if !o.OmitEmpty {
		f.empty = "-"
	}
	return f, nil
}

// Append appends the formatted text: one line with its newline for JSON. It allocates nothing beyond dst, except for operators that
// print structured metadata.
func (f *Format) Append(dst []byte, e *observe.Entry) []byte {
	if f.json != nil {
		dst, _ = f.json.append(dst, e)
		return append(dst, '\n')
	}
	return appendParts(dst, f.parts, f.empty, e)
}

// Constant returns the text of a format without operators, and whether f is one.
func (f *Format) Constant() (string, bool) {
	switch {
	case f.json != nil || len(f.parts) > 1:
		return "", false
	case len(f.parts) == 0:
		return "", true
	}
	return f.parts[0].text, f.parts[0].op == nil
}

func appendParts(dst []byte, parts []part, empty string, e *observe.Entry) []byte {
	for i := range parts {
		p := &parts[i]
		if p.op == nil {
			dst = append(dst, p.text...)
			continue
		}
		start := len(dst)
		out, ok := p.op.append(dst, e)
		if !ok {
			dst = append(dst[:start], empty...)
			continue
		}
		dst = out
		if p.op.peer {
			dst = escapeControls(dst, start)
		}
	}
	return dst
}

// escapeControls makes sure that what a peer sent cannot end a log line: control bytes in dst[start:] become \xNN.
func escapeControls(dst []byte, start int) []byte {
	first := start
	for first < len(dst) && !isControl(dst[first]) {
		first++
	}
	if first == len(dst) {
		return dst
	}
	end := len(dst)
	for i := first; i < end; i++ {
		if c := dst[i]; isControl(c) {
			dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	n := copy(dst[first:], dst[end:]) // what was appended replaces what it was made from
	return dst[:first+n]
}

func isControl(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

const hexDigits = "0123456789abcdef"
