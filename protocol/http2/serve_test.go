package http2

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// client returns a client of Go's that speaks over nc.
func client(t testing.TB, nc net.Conn) *http2.ClientConn {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true, StrictMaxConcurrentStreams: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return nc, nil }}
	cc, err := tr.NewClientConn(nc)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func TestGoClientIsServed(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo})
	cc := client(t, s.nc)
	for _, tt := range []struct {
		name, method, path, body, want string
	}{
		{"get", "GET", "/p?q", "", "GET http://a/p?q\naccept-encoding=gzip\nuser-agent=Go-http-client/2.0\n\n"},
		{"post", "POST", "/", "hello", "POST http://a/\ncontent-length=5\naccept-encoding=gzip\nuser-agent=Go-http-client/2.0\n\nhello"},
		{"large", "POST", "/", strings.Repeat("0123456789", 200_000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, _ := http.NewRequest(tt.method, "http://a"+tt.path, strings.NewReader(tt.body))
			if tt.body == "" {
				req.Body = nil
			}
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp.StatusCode, err)
			}
			if tt.want != "" && string(b) != tt.want || !strings.HasSuffix(string(b), "\n"+tt.body) {
				t.Errorf("got %.300q\nwant %q", b, tt.want)
			}
		})
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo})
	cc := client(t, s.nc)
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i%26)}, i*100)
			req, _ := http.NewRequest("POST", fmt.Sprintf("http://a/%d", i), bytes.NewReader(body))
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.HasSuffix(b, append([]byte("\n"), body...)) {
				t.Errorf("stream %d: %v, %d bytes", i, err, len(b))
			}
		})
	}
	wg.Wait()
}

func TestTrailersBothWays(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: func(_ context.Context, s protocol.Stream) {
		if _, err := message.ReadAll(s.Request().Body, 100); err != nil {
			s.Reset(err)
			return
		}
		b := &trailing{Bytes: message.NewBytes([]byte("body"))}
		b.trailer.Add("Grpc-Status", s.Request().Body.Trailer().Get("x-sum"))
		_ = s.Respond(&message.Response{Status: 200, Body: b, Length: -1})
	}})
	cc := client(t, s.nc)
	req, _ := http.NewRequest("POST", "http://a/", io.MultiReader(strings.NewReader("hello")))
	req.Trailer = http.Header{"X-Sum": []string{"7"}}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "body" || resp.Trailer.Get("grpc-status") != "7" {
		t.Errorf("got %q, %v, trailer %v", b, err, resp.Trailer)
	}
}

// trailing is a body with trailers.
type trailing struct {
	*message.Bytes
	trailer message.Header
}

func (b *trailing) Trailer() *message.Header { return &b.trailer }
