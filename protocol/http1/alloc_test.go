package http1

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

const browserRequest = "GET /index.html?a=b HTTP/1.1\r\nHost: www.example.com:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"

// fixed is a handler that answers with a response of its own, made once.
type fixed struct {
	handler
	resp message.Response
	body message.Bytes
	data []byte
}

func (f *fixed) ServeStream(_ context.Context, s protocol.Stream) {
	if s.Request().Header.Get("cookie") == "" {
		s.Reset(errReset)
		return
	}
	f.body = *message.NewBytes(f.data)
	f.resp.Body = &f.body
	_ = s.Respond(&f.resp)
}

func TestServerAllocatesNothingPerRequest(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	f := &fixed{data: bytes.Repeat([]byte{'x'}, 100)}
	f.resp = message.Response{Status: 200, Length: 100}
	f.resp.Header.Add("content-type", "text/plain")
	o := lax()
	o.PeekAfter, o.IdleTimeout = 1<<40, 1<<50
	near, far := loopback(t)
	s := startOn(t, context.Background(), o, f, near, far)
	req := []byte(browserRequest)
	buf := make([]byte, 4096)
	once := func() {
		if _, err := s.Write(req); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(buf); err != nil || !strings.HasPrefix(string(buf[:15]), "HTTP/1.1 200 OK") || n < 100 {
			t.Fatal(n, err)
		}
	}
	once()
	if n := testing.AllocsPerRun(2000, once); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestClientAllocatesNothingPerRequest(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	answer := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100))
	s, own := open(t, ClientOptions{}, func(o *origin) {
		b := make([]byte, 4096)
		for {
			if _, err := o.Read(b); err != nil {
				return
			}
			if _, err := o.Write(answer); err != nil {
				return
			}
		}
	})
	r := get("/index.html")
	r.Header.Add("User-Agent", "x")
	sc := under(t)
	once := func() {
		resp, err := s.RoundTrip(sc, r)
		if err != nil || resp.Status != 200 {
			t.Fatal(err)
		}
		n := 0
		for {
			p, err := resp.Body.Next()
			n += len(p)
			if err == io.EOF {
				break
			}
		}
		resp.Body.Close(nil)
		resp.Release()
		if n != 100 {
			t.Fatal(n)
		}
	}
	once()
	if n := testing.AllocsPerRun(2000, once); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
	if _, gone := own.counts(); gone != 0 {
		t.Errorf("gone %d", gone)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	o := ServerOptions{AllowAbsoluteURL: true}
	l := newLimits(0, 0, false)
	var s scan
	var m message.Request
	data := []byte(browserRequest)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var h requestHead
		s.reset()
		m.Header.Reset()
		n, err := s.find(data, &l)
		if err != nil {
			b.Fatal(err)
		}
		if err := o.parse(&h, &m, data[:n], &s); err != nil {
			b.Fatal(err)
		}
	}
}
