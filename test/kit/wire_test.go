package kit

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMessagesAreReadStrictly(t *testing.T) {
	for _, tt := range []struct {
		name, in, body string
		err            error
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", nil},
		{"chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"until the close", "HTTP/1.1 200 OK\r\n\r\nhello", "hello", nil},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", "", nil},
		{"short length", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"no last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", io.ErrUnexpectedEOF},
		{"no end of the last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "", io.ErrUnexpectedEOF},
		{"two framings", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "", ErrMalformed},
		{"two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "", ErrMalformed},
		{"bare LF", "HTTP/1.1 200 OK\n\n", "", ErrMalformed},
		{"no colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "", ErrMalformed},
		{"status", "HTTP/1.1 banana\r\n\r\n", "", ErrMalformed},
		{"nothing", "", "", io.EOF},
		{"half a head", "HTTP/1.1 200 OK\r\nx", "", io.ErrUnexpectedEOF},
	} {
		in := newRecorder(strings.NewReader(tt.in))
		m, err := in.response("GET")
		if err == nil {
			err = in.body(m)
			if string(m.Body) != tt.body || err == nil && string(m.Raw) != tt.in {
				t.Errorf("%s: body %q, raw %q", tt.name, m.Body, m.Raw)
			}
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestBodiesAreShownWithoutLoss(t *testing.T) {
	for body, want := range map[string]string{
		"plain": "plain", "two\nlines": "two\nlines", "ends\n": `"ends\n"`, "a\n\nb": `"a\n\nb"`, " x": `" x"`, "\x00": `"\x00"`, `{"a": "b"}`: `{"a": "b"}`,
		`"quoted"`: `"\"quoted\""`, "cr\r\n lf": `"cr\r\n lf"`,
	} {
		if got := bodyText([]byte(body)); got != want {
			t.Errorf("%q is shown as %q, want %q", body, got, want)
		}
	}
}
