package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A call is one request to the interface and its response.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	query []pair // parameters in the order given
	body  []byte // as it was sent
}

type pair struct{ name, value string }

const (
	maxBody     = 64 << 10 // of forms and of the client status request; nothing else has a body that is looked at
	bodyTimeout = 10 * time.Second
)

// parse reads the parameters: those of the URL or, if it has none, of a form in the body, as Envoy does. It answers itself if
// that fails.
func (c *call) parse() bool {
	c.query = parsePairs(c.r.URL.RawQuery, url.PathUnescape)
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return true
	}
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer in tests has deadlines
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		c.text(http.StatusRequestEntityTooLarge, "Payload Too Large\n")
		return false
	}
	if err != nil {
		c.text(http.StatusBadRequest, "Bad Request\n")
		return false
	}
	c.body = body
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if len(c.query) == 0 && kind == "application/x-www-form-urlencoded" {
		c.query = parsePairs(string(body), url.QueryUnescape)
	}
	return true
}

// parsePairs splits a query. What cannot be unescaped is taken as it is. In the query of a URL Envoy leaves "+" alone, which
// regular expressions rely on.
func parsePairs(raw string, unescape func(string) (string, error)) []pair {
	var out []pair
	for field := range strings.SplitSeq(raw, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		out = append(out, pair{decode(name, unescape), decode(value, unescape)})
	}
	return out
}

func decode(s string, unescape func(string) (string, error)) string {
	if plain, err := unescape(s); err == nil {
		return plain
	}
	return s
}

// get is the first value of a parameter, "" if there is none.
func (c *call) get(name string) string {
	for _, p := range c.query {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// has reports whether a parameter is there, with whatever value.
func (c *call) has(name string) bool {
	for _, p := range c.query {
		if p.name == name {
			return true
		}
	}
	return false
}

// text answers with plain text.
func (c *call) text(status int, body string) {
	c.head(status, "text/plain; charset=UTF-8")
	_, _ = io.WriteString(c.w, body) // the peer is gone: nobody to tell
}

func (c *call) ok() { c.text(http.StatusOK, "OK\n") }

// missing answers for what this process does not have.
func (c *call) missing(what string) { c.text(http.StatusNotImplemented, what+" is not available\n") }

func (c *call) head(status int, contentType string) {
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
}

// json answers with a value as indented JSON.
func (c *call) json(v any) {
	b, err := json.Marshal(v)
	c.indented(b, err)
}

// proto answers with a message as JSON under its proto field names; defaults says whether fields that are zero are shown.
func (c *call) proto(m proto.Message, defaults bool) {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: defaults}.Marshal(m)
	c.indented(b, err)
}

// indented answers with JSON indented as Envoy indents it: by one space.
func (c *call) indented(b []byte, err error) {
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, b, "", " ")
	}
	if err != nil {
		c.text(http.StatusInternalServerError, "cannot be shown as JSON: "+clean(err.Error())+"\n")
		return
	}
	c.head(http.StatusOK, "application/json")
	_, _ = out.WriteTo(c.w)
}

// clean makes text from elsewhere fit for one line of a terminal: control characters and what is not UTF-8 become \xNN.
func clean(s string) string {
	bad := func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '�' || r == '\u2028' || r == '\u2029'
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i, r := range s {
		if !bad(r) {
			b.WriteRune(r)
			continue
		}
		size := max(1, len(string(r)))
		if r == '�' && !strings.HasPrefix(s[i:], "�") {
			size = 1
		}
		for _, c := range []byte(s[i : i+size]) {
			b.WriteString(`\x`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
