package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(ln, nil)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}

func TestPathsAnswerAsTheySay(t *testing.T) {
	addr := start(t)
	tests := []struct {
		method, path, body string
		status             int
		want               string // part of the body
		length             int64
	}{
		{"GET", "/", "", 200, "/ws ", 0},
		{"POST", "/echo", "abc", 200, "POST /echo HTTP/1.1\nHost: ", 0},
		{"POST", "/echo", "abc", 200, "\n\nabc", 0},
		{"GET", "/headers", "", 200, "User-Agent: ", 0},
		{"GET", "/status/503", "", 503, "503 Service Unavailable", 0},
		{"GET", "/status/100", "", 400, "200 to 599", 0},
		{"GET", "/delay/0", "", 200, "waited", 0},
		{"GET", "/delay/NaN", "", 400, "0 to 60", 0},
		{"GET", "/bytes/100000", "", 200, "0123456789abcdef", 100000},
		{"GET", "/bytes/-1", "", 400, "number of bytes", 0},
		{"GET", "/ws", "", 426, "WebSocket client", 0},
		{"GET", "/nothing", "", 404, "", 0},
	}
	for _, test := range tests {
		t.Run(test.method+test.path, func(t *testing.T) {
			req, err := http.NewRequest(test.method, "http://"+addr+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.want) {
				t.Errorf("%d %.100q, want %d with %q", resp.StatusCode, body, test.status, test.want)
			}
			if test.length > 0 && int64(len(body)) != test.length {
				t.Errorf("%d bytes, want %d", len(body), test.length)
			}
		})
	}
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func TestEventsComeOneByOne(t *testing.T) {
	c, r := dial(t, start(t))
	fmt.Fprintf(c, "GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
	for seen := 0; seen < 1; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "data: event 1\n" {
			seen++
		}
	}
}

func TestTheWebSocketEchoes(t *testing.T) {
	c, r := dial(t, start(t))
	// the example of RFC 6455 section 1.3
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("sec-websocket-accept"); resp.StatusCode != 101 || got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%d, accept %q", resp.StatusCode, got)
	}
	long := bytes.Repeat([]byte("x"), 70000)
	for _, test := range []struct{ in, out []byte }{
		{append([]byte{0x81, 0x82, 1, 2, 3, 4}, 'h'^1, 'i'^2), []byte("\x81\x02hi")},
		{append([]byte{0x89, 0x81, 0, 0, 0, 0}, 'p'), []byte("\x8a\x01p")},
		{append([]byte{0x82, 0xfe, 1, 0, 0, 0, 0, 0}, long[:256]...), append([]byte{0x82, 126, 1, 0}, long[:256]...)},
		{append([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70, 0, 0, 0, 0}, long...), append([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, long...)},
		{[]byte{0x88, 0x80, 0, 0, 0, 0}, []byte("\x88\x00")},
	} {
		if _, err := c.Write(test.in); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(test.out))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, test.out) {
			t.Fatalf("%.20q, %v; want %.20q", got, err, test.out)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after close: %v, want EOF", err)
	}
}

func TestCloseEndsOpenStreams(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(ln, nil)
	c, r := dial(t, s.Addr().String())
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n")
	if _, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the WebSocket is still open")
	}
}
