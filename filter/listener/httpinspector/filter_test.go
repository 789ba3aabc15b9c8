package httpinspector

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

// build makes the filter as a listener does.
func build(t testing.TB) (extension.Inspector, *stats.Store) {
	t.Helper()
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: &resource.Problems{}}
	f, err := Extension().New(env, &inspectorv3.HttpInspector{})
	if err != nil {
		t.Fatal(err)
	}
	return f, env.Stats
}

// peers is a connection as the filter sees it, and its peer.
func peers(t testing.TB) (*conn.Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	c := conn.New(nc)
	t.Cleanup(func() { _, _ = c.Close(), client.Close() })
	return c, client.(*net.TCPConn)
}

// cases are first bytes, and what they speak.
var cases = []struct {
	in   string
	want verdict
}{
	{"GET / HTTP/1.1\r\n", http11},
	{"GET / HTTP/1.1\n", http11},
	{"POST /a?b=c HTTP/1.1\r\nhost: x\r\n", http11},
	{"PATCH-ME * HTTP/1.1\r\n", http11},
	{"PRI * HTTP/1.1\r\n", http11},
	{"CONNECT a:1 HTTP/1.0\r\n", http10},
	{"GET / HTTP/1.9\r\n", http10},
	{"GET / HTTP/0.9\r\n", http10},
	{preface, http2},
	{preface + "\x00\x00\x00\x04", http2},
	{"PRI * HTTP/2.0\r\n\r\nXX", none},
	{"GET / HTTP/2.0\r\n", none},
	{"GET / HTTP/1.10\r\n", none},
	{"GET / http/1.1\r\n", none},
	{"GET /\r\n", none},
	{"GET / \r\n", none},
	{"GET  / HTTP/1.1\r\n", none},
	{"GET / HTTP/1.1 \r\n", none},
	{"GET /\x01 HTTP/1.1\r\n", none},
	{" GET / HTTP/1.1\r\n", none},
	{"\r\nGET / HTTP/1.1\r\n", none},
	{"\x16\x03\x01", none},
	{"SSH-2.0-OpenSSH\r\n", none},
	{"GET / SOMETHING/1.1", none},
	{"PRI * HT", undecided},
	{"GET /", undecided},
	{"", undecided},
}

func TestInspect(t *testing.T) {
	names := map[verdict]string{http10: "http/1.0", http11: "http/1.1", http2: "h2c"}
	counters := map[verdict]string{http10: "http10_found", http11: "http11_found", http2: "http2_found", none: "http_not_found"}
	for _, tt := range cases {
		for _, whole := range []bool{true, false} {
			f, store := build(t)
			c, client := peers(t)
			sent := make(chan struct{})
			go func() { // ends when all is written, or the connection is closed
				defer close(sent)
				if whole {
					_, _ = io.WriteString(client, tt.in)
				} else {
					for i := range len(tt.in) {
						_, _ = io.WriteString(client, tt.in[i:i+1])
					}
				}
				_ = client.CloseWrite()
			}()
			err := f.Inspect(context.Background(), c)
			if want := tt.want == undecided; (err == io.EOF) != want {
				t.Errorf("%q: %v", tt.in, err)
			}
			if got := strings.Join(c.Info().ALPN, ","); got != names[tt.want] {
				t.Errorf("%q: %q", tt.in, got)
			}
			for v, name := range counters {
				want := int64(0)
				if v == tt.want {
					want = 1
				}
				if got, _ := store.Value("http_inspector." + name); got != want {
					t.Errorf("%q: %s is %d", tt.in, name, got)
				}
			}
			<-sent
			if rest, err := io.ReadAll(c); err != nil || string(rest) != tt.in {
				t.Errorf("%q: left %q, %v", tt.in, rest, err)
			}
			_, _ = c.Close(), client.Close()
		}
	}
}

func TestALineWithoutEndIsRefused(t *testing.T) {
	f, store := build(t)
	c, client := peers(t)
	sent := make(chan struct{})
	go func() { // ends when all is written, or the connection is closed
		defer close(sent)
		_, _ = io.WriteString(client, "GET /"+strings.Repeat("x", maxInspected))
	}()
	if err := f.Inspect(context.Background(), c); err != errTooLong {
		t.Error(err)
	}
	<-sent
	if n, _ := store.Value("http_inspector.read_error"); n != 1 {
		t.Errorf("%d read errors", n)
	}
}

func TestLongestLine(t *testing.T) {
	f, _ := build(t)
	c, client := peers(t)
	line := "GET /" + strings.Repeat("x", maxInspected-16) + " HTTP/1.1\n"
	if len(line) != maxInspected-1 {
		t.Fatal(len(line))
	}
	sent := make(chan struct{})
	go func() { // ends when all is written, or the connection is closed
		defer close(sent)
		_, _ = io.WriteString(client, line)
	}()
	if err := f.Inspect(context.Background(), c); err != nil || !slices.Equal(c.Info().ALPN, []string{"http/1.1"}) {
		t.Errorf("%v, %v", err, c.Info().ALPN)
	}
	<-sent
}

func TestTLSIsLeftAlone(t *testing.T) {
	f, _ := build(t)
	c, _ := peers(t)
	c.Info().TransportProtocol = "tls"
	if err := f.Inspect(context.Background(), c); err != nil || c.Info().ALPN != nil {
		t.Errorf("%v, %v", err, c.Info().ALPN)
	}
}

func TestAWakeEndsTheWait(t *testing.T) {
	f, _ := build(t)
	c, _ := peers(t)
	cause := errors.New("timeout")
	c.Wake(cause)
	if err := f.Inspect(context.Background(), c); err != cause {
		t.Error(err)
	}
}

func FuzzPiecesGiveTheSameVerdict(f *testing.F) {
	for _, tt := range cases {
		f.Add([]byte(tt.in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		var at, by scanner
		whole := at.scan(in)
		pieces := undecided
		for n := 0; pieces == undecided && n < len(in); {
			n = min(n+1+max(step, 0)%16, len(in))
			pieces = by.scan(in[:n])
		}
		if whole != pieces {
			t.Errorf("%q: %d whole, %d in pieces", in, whole, pieces)
		}
	})
}
