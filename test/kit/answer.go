package kit

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"
)

// An Answer is what an upstream does with a request whose head it has read. When it returns the rest of the request is read, if it
// was not, and the connection goes on unless the answer has ended it.
type Answer func(t *Talk)

// A Talk is one request on an upstream's connection.
type Talk struct {
	Request *Message

	conn     net.Conn
	in       *recorder
	upstream *Upstream
	read     bool // the body was
	over     bool // the connection is not used again
}

// ReadBody reads the rest of the request and records it as seen. Later calls do nothing.
func (t *Talk) ReadBody() {
	if t.read {
		return
	}
	t.read = true
	if t.in.body(t.Request) != nil {
		t.over = true
	}
	t.upstream.note(func() { t.upstream.seen = append(t.upstream.seen, t.Request) })
}

// Send writes bytes as they are. A peer that does not take them ends the connection.
func (t *Talk) Send(b []byte) {
	if err := t.conn.SetWriteDeadline(time.Now().Add(t.upstream.limit)); err != nil {
		t.over = true
		return
	}
	if _, err := t.conn.Write(b); err != nil {
		t.over = true
	}
}

// Close closes the connection in order.
func (t *Talk) Close() {
	t.ReadBody()
	t.over = true
	if err := t.conn.Close(); err != nil {
		return // it was closed already
	}
}

// Reset breaks the connection off, what is unread included.
func (t *Talk) Reset() {
	t.ReadBody()
	t.over = true
	_ = reset(t.conn) // it is gone either way
}

// Echo sends back what comes until the peer ends its half, then ends the other.
func (t *Talk) Echo() {
	t.over = true
	if _, err := io.Copy(t.conn, t.in); err == nil {
		_ = t.conn.(interface{ CloseWrite() error }).CloseWrite() // the peer may be gone
	}
}

// Hold does nothing until the peer or the lab closes the connection.
func (t *Talk) Hold() {
	t.over = true
	_, _ = io.Copy(io.Discard, t.in) // any end will do
}

// Raw answers with these bytes once the request is complete.
func Raw(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		t.Send(b)
	}
}

// Reply answers with a status and a text of known length, which HEAD does not get.
func Reply(status int, body string) Answer {
	head := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\ncontent-length: %d\r\n\r\n", status, http.StatusText(status), len(body))
	return func(t *Talk) {
		t.ReadBody()
		if t.Request.method == http.MethodHead {
			t.Send(head)
			return
		}
		t.Send(append(bytes.Clone(head), body...))
	}
}

// Early answers with these bytes before it reads the request's body.
func Early(b []byte) Answer { return func(t *Talk) { t.Send(b) } }

// ThenClose answers with these bytes and closes the connection.
func ThenClose(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		t.Send(b)
		t.Close()
	}
}

// ThenReset answers with these bytes and breaks the connection off. What the peer has not read yet may get lost, as on any network.
func ThenReset(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		t.Send(b)
		t.Reset()
	}
}

// ThenHold answers with these bytes, which may be none, and then says nothing more.
func ThenHold(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		t.Send(b)
		t.Hold()
	}
}

// ThenEcho answers with these bytes and then sends back what comes: the other end of a tunnel.
func ThenEcho(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		t.Send(b)
		t.Echo()
	}
}

// Dribble answers with these bytes, each in a write of its own.
func Dribble(b []byte) Answer {
	return func(t *Talk) {
		t.ReadBody()
		for i := range b {
			t.Send(b[i : i+1])
		}
	}
}

// Handle answers as an HTTP handler does, once the request is complete.
func Handle(h http.Handler) Answer {
	return func(t *Talk) {
		t.ReadBody()
		r := httptest.NewRequest(t.Request.method, "/", bytes.NewReader(t.Request.Body))
		r.RequestURI = t.Request.Target()
		r.Host, _ = t.Request.Get("host")
		for _, f := range t.Request.Fields {
			r.Header.Add(f.Name, f.Value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		resp := w.Result()
		resp.ContentLength = int64(w.Body.Len())
		var b bytes.Buffer
		if err := resp.Write(&b); err != nil {
			t.Reset()
			return
		}
		t.Send(b.Bytes())
	}
}
