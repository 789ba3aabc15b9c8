package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// canned is a connection whose other side has said all it will say. Reads give at most step bytes.
type canned struct {
	in   *bytes.Reader
	step int
	out  bytes.Buffer
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p[:min(len(p), c.step)]) }
func (c *canned) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

func newCanned(b []byte, step int) *conn.Conn {
	return conn.New(&canned{in: bytes.NewReader(b), step: max(step, 1)})
}

// decoded is what a decoder made of a message.
type decoded struct {
	ok                      bool
	method, target, version string
	host, body              string
	status                  int
	rest                    int // bytes behind the message
	fields                  int
}

// decodeRequest runs the server's decoder over b, delivered in pieces of step bytes.
func decodeRequest(b []byte, step int) (d decoded) {
	c := newCanned(b, step)
	s := NewServer(ServerOptions{AllowAbsoluteURL: true, AcceptHTTP10: true, AllowCustomMethods: true, EnableTrailers: true, DefaultHost: "default"})
	v := &serving{s: s, ctx: context.Background(), c: c}
	v.scope.Init(v.fire)
	defer v.scope.Close()
	st := s.stream(v)
	n, refused, err := v.readHead(st)
	if err != nil || refused != nil {
		return d
	}
	if refused = s.o.parse(&st.head, &st.req, c.Buffered()[:n], &st.scan); refused != nil {
		return d
	}
	c.Discard(n)
	v.begin(st, nil)
	d.method, d.target, d.version, d.host = strings.Clone(st.req.Method), strings.Clone(st.req.Path), st.head.version.String(), strings.Clone(st.req.Authority)
	d.fields = st.req.Header.Len()
	if st.req.Upgrade == "" {
		body, err := message.ReadAll(st.req.Body, 1<<20)
		if err != nil {
			return d
		}
		d.body = string(body)
	}
	st.body.r.settle()
	d.ok = true
	d.rest = len(c.Buffered()) + c.Conn.(*canned).in.Len()
	st.release()
	return d
}

func FuzzRequest(f *testing.F) {
	for _, tt := range hostile {
		f.Add([]byte(wire(tt.wire)), 7)
	}
	f.Add([]byte(browserRequest), 1)
	f.Add([]byte(wire("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5;a=b\nhello\n0\nT: u\n\nGET / HTTP/1.1\n")), 3)
	f.Add([]byte(wire("PUT http://a/x?y HTTP/1.1\nHost: a\nContent-Length: 3\nConnection: x\nX: y\n\nabcdef")), 5)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		whole, pieces := decodeRequest(b, len(b)), decodeRequest(b, step%64)
		if whole != pieces {
			t.Fatalf("pieces make a difference:\n%+v\n%+v", whole, pieces)
		}
		if !whole.ok {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(bytes.TrimLeft(b, "\r\n")), 1<<20)
		r, err := http.ReadRequest(br)
		if err != nil {
			return // net/http is stricter here: about URLs, mostly
		}
		if r.Header.Get("Expect") != "" || r.Method == "CONNECT" || r.Method == "PRI" {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // of trailers, where net/http has other limits
		}
		n := int(0)
		if rest, err := io.ReadAll(br); err == nil {
			n = len(rest)
		}
		if r.Method != whole.method || string(body) != whole.body || n != whole.rest {
			t.Fatalf("net/http: %s, body %q, %d left\nhttp1: %+v", r.Method, body, n, whole)
		}
	})
}

// decodeResponse runs the client's decoder over b.
func decodeResponse(b []byte, step int, head bool) (d decoded) {
	c := newCanned(b, step)
	own := &owner{}
	s, _ := NewClient(ClientOptions{EnableTrailers: true}).Open(context.Background(), c, own)
	r := get("/")
	if head {
		r.Method = "HEAD"
	}
	resp, err := s.RoundTrip(context.Background(), r)
	if err != nil {
		return d
	}
	d.status, d.fields = resp.Status, resp.Header.Len()
	body, err := message.ReadAll(resp.Body, 1<<20)
	if err == nil {
		d.ok, d.body = true, string(body)
	}
	resp.Body.Close(err)
	resp.Release()
	if freed, gone := own.counts(); freed != 1 || gone > 1 {
		panic("the session was not given back once")
	}
	return d
}

func FuzzResponse(f *testing.F) {
	for _, text := range []string{"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\nA: b\n\n",
		"HTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 204 No\n\n", "HTTP/1.0 200 OK\nConnection: keep-alive\n\nall", "HTTP/1.1 304 \nContent-Length: 4\n\n"} {
		f.Add([]byte(wire(text)), 3, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, step int, head bool) {
		whole, pieces := decodeResponse(b, len(b), head), decodeResponse(b, step%64, head)
		if whole != pieces {
			t.Fatalf("pieces make a difference:\n%+v\n%+v", whole, pieces)
		}
		if !whole.ok || bytes.HasPrefix(b, []byte("HTTP/1.1 1")) || bytes.HasPrefix(b, []byte("HTTP/1.0 1")) {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		r, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(b), 1<<20), &http.Request{Method: method})
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.StatusCode != whole.status || string(body) != whole.body {
			t.Fatalf("net/http: %d %q\nhttp1: %+v", r.StatusCode, body, whole)
		}
	})
}

func FuzzChunked(f *testing.F) {
	for _, tt := range badBodies {
		f.Add([]byte(wire(tt.wire)), 3)
	}
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\nrest"), 1)
	l := newLimits(0, 0, true)
	decode := func(b []byte, step int) (string, error, int) {
		c := newCanned(b, step)
		var r reader
		r.begin(c, chunkedFraming, 0, &l)
		var out []byte
		for {
			p, err := r.take()
			if p == nil && err == nil {
				err = r.more()
			}
			out = append(out, p...)
			if err != nil {
				return string(out), err, len(c.Buffered()) + c.Conn.(*canned).in.Len()
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		out1, err1, rest1 := decode(b, len(b))
		out2, err2, rest2 := decode(b, step%64)
		var bad *protocol.Error
		if out1 != out2 && !errors.As(err1, &bad) || (err1 == io.EOF) != (err2 == io.EOF) || err1 == io.EOF && rest1 != rest2 {
			t.Fatalf("pieces make a difference: %q %v %d, %q %v %d", out1, err1, rest1, out2, err2, rest2)
		}
		if err1 != io.EOF {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(b))))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := io.ReadAll(r.Body); err == nil && string(want) != out1 {
			t.Fatalf("net/http %q, http1 %q", want, out1)
		}
	})
}
