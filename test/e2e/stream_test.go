package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/internal/demo"
)

const (
	big      = 1 << 30 // bytes of a streamed body
	bigShort = 64 << 20
	growth   = 64 << 20 // by which the resident set may grow meanwhile
)

func bodySize() int64 {
	if testing.Short() {
		return bigShort
	}
	return big
}

// startDemo starts the demo upstream.
func startDemo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := demo.Start(ln, nil)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
	})
	return s.Addr().String()
}

// zeros is a reader of n bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// watch calls look now and then until the function it returns is called, which returns the largest value seen.
func watch(look func() int64) (end func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() { // ends when end is called
		most := int64(0)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, look())
			select {
			case <-tick.C:
			case <-stop:
				result <- most
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-result
	}
}

func TestBigUploadStreamsInBoundedMemory(t *testing.T) {
	received := make(chan int64, 1)
	to := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			n = -1
		}
		received <- n
		fmt.Fprintf(w, "%d", n)
	}))
	for _, length := range []int64{bodySize(), -1} {
		p, from := proxy(t, "http://"+to)
		before := p.resident()
		end := watch(p.resident)
		r, err := http.NewRequest(http.MethodPost, "http://"+from+"/", zeros(bodySize()))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length // -1: chunked
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.out)
		}
		_ = resp.Body.Close() // the status says enough
		if n := <-received; n != bodySize() || resp.StatusCode != http.StatusOK {
			t.Errorf("the upstream got %d of %d bytes, the client %s", n, bodySize(), resp.Status)
		}
		if grown := end() - before; grown > growth {
			t.Errorf("the resident set grew by %d MiB", grown>>20)
		} else {
			t.Logf("length %d: the resident set grew by %d MiB from %d MiB", length, grown>>20, before>>20)
		}
	}
}

func TestBigDownloadStreamsInBoundedMemory(t *testing.T) {
	to := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("content-length", fmt.Sprint(bodySize()))
		}
		_, _ = io.Copy(w, zeros(bodySize())) // the client counts
	}))
	for _, path := range []string{"/length", "/chunked"} {
		p, from := proxy(t, "http://"+to)
		before := p.resident()
		end := watch(p.resident)
		resp, err := http.Get("http://" + from + path)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.out)
		}
		// A slow reader: whoever buffers without bound has everything in memory soon.
		head := make([]byte, 1<<20)
		if _, err := io.ReadFull(resp.Body, head); err != nil {
			t.Fatal(err)
		}
		<-time.After(200 * time.Millisecond)
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // read to its end
		if n += int64(len(head)); err != nil || n != bodySize() {
			t.Errorf("the client got %d of %d bytes, %v", n, bodySize(), err)
		}
		if grown := end() - before; grown > growth {
			t.Errorf("%s: the resident set grew by %d MiB", path, grown>>20)
		} else {
			t.Logf("%s: the resident set grew by %d MiB from %d MiB", path, grown>>20, before>>20)
		}
	}
}

func TestServerSentEventsArriveOneByOne(t *testing.T) {
	next := make(chan struct{})
	to := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		for i := range 5 {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-next: // the client has the event
			case <-r.Context().Done():
				return
			}
		}
	}))
	_, from := proxy(t, "http://"+to)
	resp, err := (&http.Client{Timeout: patience}).Get("http://" + from + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	if got := resp.Header.Get("content-type"); got != "text/event-stream" {
		t.Errorf("content-type is %q", got)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		event, err := lines.ReadString('\n')
		if err != nil || event != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d is %q, %v", i, event, err)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q is left, %v", rest, err)
	}
}

// A webSocket is the client's end of one; its texts are shorter than 126 bytes.
type webSocket struct {
	net.Conn
	in *bufio.Reader
}

// openWebSocket upgrades a connection.
func openWebSocket(t *testing.T, addr, path string) *webSocket {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // some tests have closed it
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: weft.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", path, key); err != nil {
		t.Fatal(err)
	}
	ws := &webSocket{c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(ws.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept is %q", got)
	}
	return ws
}

// echo sends a text and expects it back.
func (ws *webSocket) echo(text string) error {
	mask := [4]byte{1, 2, 3, 4}
	frame := append([]byte{0x81, 0x80 | byte(len(text))}, mask[:]...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	if _, err := ws.Write(frame); err != nil {
		return err
	}
	answer := make([]byte, 2+len(text))
	if _, err := io.ReadFull(ws.in, answer); err != nil {
		return err
	}
	if answer[0] != 0x81 || int(answer[1]) != len(text) || string(answer[2:]) != text {
		return fmt.Errorf("%q came back as %q", text, answer)
	}
	return nil
}

func TestWebSocketEchoes(t *testing.T) {
	_, from := proxy(t, "http://"+startDemo(t))
	ws := openWebSocket(t, from, "/ws")
	for _, text := range []string{"hello", "", strings.Repeat("x", 125)} {
		if err := ws.echo(text); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTCPProxy(t *testing.T) {
	to := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "through tcp") }))
	_, from := proxy(t, "tcp://"+to)
	if got := curl(t, "http://"+from+"/"); got != "through tcp" {
		t.Errorf("got %q", got)
	}
}
