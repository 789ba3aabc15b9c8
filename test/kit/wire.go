package kit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrMalformed is what a message that is not HTTP/1 as RFC 9112 has it is reported with.
var ErrMalformed = errors.New("malformed message")

// A Field is a header field as it was sent.
type Field struct{ Name, Value string }

// A Message is an HTTP/1 message as it was on the wire, with its body decoded.
type Message struct {
	Start   string // the request line or the status line
	Fields  []Field
	Body    []byte
	Trailer []Field
	Raw     []byte // head and body, every byte
	Err     error  // why the body broke off; nil when the message is complete

	request bool
	method  string // of the request; for a response, of the one it answers
	status  int    // 0 for a request
}

// Status is the response's status code.
func (m *Message) Status() int { return m.status }

// Method is the request's method.
func (m *Message) Method() string { return m.method }

// Target is the request's target, as it was sent.
func (m *Message) Target() string {
	_, rest, _ := strings.Cut(m.Start, " ")
	target, _, _ := strings.Cut(rest, " ")
	return target
}

// Get is the value of the field of this name in any spelling, those of several joined by ", ", and whether there is one.
func (m *Message) Get(name string) (string, bool) { return get(m.Fields, name) }

func get(fields []Field, name string) (string, bool) {
	var values []string
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return strings.Join(values, ", "), values != nil
}

// A recorder reads messages from a connection and keeps the bytes of the present one.
type recorder struct {
	br  *bufio.Reader
	raw bytes.Buffer
}

func newRecorder(r io.Reader) *recorder { return &recorder{br: bufio.NewReaderSize(r, 64<<10)} }

// Read reads and records.
func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.br.Read(b)
	r.raw.Write(b[:n])
	return n, err
}

// line reads a line that ends with CRLF, and cuts that off.
func (r *recorder) line() (string, error) {
	b, err := r.br.ReadBytes('\n')
	r.raw.Write(b)
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	line, ok := bytes.CutSuffix(b, []byte("\r\n"))
	if !ok || bytes.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("%w: line %q", ErrMalformed, b)
	}
	return string(line), nil
}

// fields reads header or trailer lines up to the empty one.
func (r *recorder) fields() ([]Field, error) {
	var fields []Field
	for {
		line, err := r.line()
		if err != nil {
			return fields, unexpected(err)
		}
		if line == "" {
			return fields, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return fields, fmt.Errorf("%w: field line %q", ErrMalformed, line)
		}
		fields = append(fields, Field{name, strings.Trim(value, " \t")})
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// head reads the head of a message. The error is io.EOF when the peer closed before the first byte.
func (r *recorder) head() (*Message, error) {
	r.raw.Reset()
	start, err := r.line()
	if err != nil {
		return nil, err
	}
	m := &Message{Start: start}
	if m.Fields, err = r.fields(); err != nil {
		return nil, err
	}
	return m, nil
}

// request reads the head of a request.
func (r *recorder) request() (*Message, error) {
	m, err := r.head()
	if err != nil {
		return nil, err
	}
	m.request = true
	parts := strings.Split(m.Start, " ")
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "HTTP/1.") {
		return nil, fmt.Errorf("%w: request line %q", ErrMalformed, m.Start)
	}
	m.method = parts[0]
	return m, nil
}

// response reads the head of the response to a request of this method.
func (r *recorder) response(method string) (*Message, error) {
	m, err := r.head()
	if err != nil {
		return nil, err
	}
	m.method = method
	version, rest, _ := strings.Cut(m.Start, " ")
	code, _, _ := strings.Cut(rest, " ")
	m.status, err = strconv.Atoi(code)
	if err != nil || len(code) != 3 || !strings.HasPrefix(version, "HTTP/1.") {
		return nil, fmt.Errorf("%w: status line %q", ErrMalformed, m.Start)
	}
	return m, nil
}

// body reads the rest of the message. What keeps it from being complete is in m.Err and returned.
func (r *recorder) body(m *Message) error {
	m.Err = r.readBody(m)
	m.Raw = bytes.Clone(r.raw.Bytes())
	return m.Err
}

func (r *recorder) readBody(m *Message) error {
	length, hasLength := m.Get("content-length")
	coding, chunked := m.Get("transfer-encoding")
	if m.bodiless() {
		return nil
	}
	switch {
	case chunked && hasLength:
		return fmt.Errorf("%w: content-length and transfer-encoding", ErrMalformed)
	case chunked && coding != "chunked":
		return fmt.Errorf("%w: transfer-encoding %q", ErrMalformed, coding)
	case chunked:
		return r.chunks(m)
	case hasLength:
		n, err := strconv.ParseUint(length, 10, 62)
		if err != nil {
			return fmt.Errorf("%w: content-length %q", ErrMalformed, length)
		}
		return r.exactly(m, int64(n))
	case m.request:
		return nil
	}
	b, err := io.ReadAll(r)
	m.Body = b
	return err
}

// bodiless reports whether the message has no body whatever its fields say.
func (m *Message) bodiless() bool {
	if m.request {
		return false
	}
	return m.method == "HEAD" || m.status < 200 || m.status == 204 || m.status == 304 || m.method == "CONNECT" && m.status < 300
}

func (r *recorder) exactly(m *Message, n int64) error {
	b, err := io.ReadAll(io.LimitReader(r, n))
	m.Body = append(m.Body, b...)
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (r *recorder) chunks(m *Message) error {
	for {
		line, err := r.line()
		if err != nil {
			return unexpected(err)
		}
		n, err := strconv.ParseUint(line, 16, 62)
		if err != nil {
			return fmt.Errorf("%w: chunk size %q", ErrMalformed, line)
		}
		if n == 0 {
			m.Trailer, err = r.fields()
			return err
		}
		if err := r.exactly(m, int64(n)); err != nil {
			return err
		}
		if end, err := r.line(); err != nil || end != "" {
			return fmt.Errorf("%w: chunk of %d bytes ends with %q", ErrMalformed, n, end)
		}
	}
}

// Text is the message for people and comparisons: start line, fields in order but for those that hide names, body and trailers.
// A body that is not plain text is quoted.
func (m *Message) Text(hide func(Field) bool) string {
	var b strings.Builder
	b.WriteString(m.Start + "\n")
	for _, f := range m.Fields {
		if hide == nil || !hide(f) {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
	}
	if len(m.Body) > 0 {
		b.WriteString("\n" + bodyText(m.Body) + "\n")
	}
	for _, f := range m.Trailer {
		fmt.Fprintf(&b, "<trailer> %s: %s\n", f.Name, f.Value)
	}
	if m.Err != nil {
		b.WriteString("<broken>\n")
	}
	return b.String()
}

func bodyText(b []byte) string {
	const long = 2000
	if len(b) > long {
		return fmt.Sprintf("<%d bytes>", len(b))
	}
	s := string(b)
	if strings.TrimSpace(s) != s || strings.Contains(s, "\n\n") {
		return strconv.Quote(s)
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(line) != line || strings.HasPrefix(line, `"`) || strconv.Quote(line) != `"`+strings.ReplaceAll(line, `"`, `\"`)+`"` {
			return strconv.Quote(s)
		}
	}
	return s
}
