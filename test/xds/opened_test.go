package xds

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A webSocket is a connection to the demo upstream's echo. It has a message each few steps.
type webSocket struct {
	conn net.Conn
	in   *bufio.Reader
	id   int
}

func openWebSocket(t *testing.T, url string, id int) *webSocket {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // ended before where the test passes
	w := &webSocket{conn: c, in: bufio.NewReader(c), id: id}
	w.patient()
	if _, err := io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no WebSocket: %v %+v", err, resp)
	}
	return w
}

func (w *webSocket) String() string { return fmt.Sprint("WebSocket ", w.id) }

func (w *webSocket) patient() { _ = w.conn.SetDeadline(time.Now().Add(patience)) } // who reads finds out

// frame sends a frame, of a mask that changes nothing, and expects it back.
func (w *webSocket) frame(op byte, text string) error {
	w.patient()
	head := []byte{0x80 | op, 0x80 | byte(len(text)), 0, 0, 0, 0}
	if _, err := w.conn.Write(append(head, text...)); err != nil {
		return err
	}
	got := make([]byte, 2+len(text))
	if _, err := io.ReadFull(w.in, got); err != nil {
		return err
	}
	if got[0] != 0x80|op || string(got[2:]) != text {
		return fmt.Errorf("%q came back as %q", text, got)
	}
	return nil
}

func (w *webSocket) use(step int) error {
	if step%3 != w.id%3 {
		return nil
	}
	return w.frame(1, fmt.Sprintf("message %d of %d", step, w.id))
}

// end closes it in order.
func (w *webSocket) end() error {
	if err := w.frame(8, "\x03\xe8"); err != nil {
		return err
	}
	if n, err := w.in.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the close: %d bytes, %w", n, err)
	}
	return nil
}

// chatService runs a gRPC service that sends each message of a stream back, and returns its address.
func chatService(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(serveChat), Protocols: &http.Protocols{}, ReadHeaderTimeout: patience}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }() // ends with Close
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func serveChat(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "application/grpc")
	w.Header().Set("trailer", "grpc-status")
	c := http.NewResponseController(w)
	_ = c.Flush() // an error is the next call's, too
	for {
		m, err := readMessage(r.Body)
		if errors.Is(err, io.EOF) {
			w.Header().Set("grpc-status", "0")
			return
		}
		if err == nil {
			err = writeMessage(w, m)
		}
		if err == nil {
			err = c.Flush()
		}
		if err != nil {
			return // the client notices
		}
	}
}

// writeMessage and readMessage frame messages as gRPC does.
func writeMessage(w io.Writer, text string) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...))
	return err
}

func readMessage(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// A chat is a bidirectional gRPC stream.
type chat struct {
	resp   *http.Response
	send   *io.PipeWriter
	cancel context.CancelFunc
	id     int
}

func openChat(t *testing.T, url string, id int) *chat {
	t.Helper()
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	body, send := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/pkg.Service/Chat", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("content-type", "application/grpc")
	r.Header.Set("te", "trailers")
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // read to its end where the test passes
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return &chat{resp: resp, send: send, cancel: cancel, id: id}
}

func (c *chat) String() string { return fmt.Sprint("gRPC stream ", c.id) }

func (c *chat) use(step int) error {
	if step%5 != c.id%5 {
		return nil
	}
	stop := time.AfterFunc(patience, c.cancel)
	defer stop.Stop()
	text := fmt.Sprintf("message %d of %d", step, c.id)
	if err := writeMessage(c.send, text); err != nil {
		return err
	}
	got, err := readMessage(c.resp.Body)
	if err == nil && got != text {
		err = fmt.Errorf("%q came back as %q", text, got)
	}
	return err
}

// end ends the call in order.
func (c *chat) end() error {
	stop := time.AfterFunc(patience, c.cancel)
	defer stop.Stop()
	if err := c.send.Close(); err != nil {
		return err
	}
	rest, err := io.ReadAll(c.resp.Body)
	if err == nil && (len(rest) > 0 || c.resp.Trailer.Get("grpc-status") != "0") {
		err = fmt.Errorf("the stream ends with %q and trailers %v", rest, c.resp.Trailer)
	}
	return err
}

// A download is a response that is read slowly: a part each step.
type download struct {
	resp *http.Response
	part []byte
	want []byte
	at   int
	size int
}

// downloadPart is what is read each step, so that the whole is more than anybody buffers.
const downloadPart = 64 << 10

func openDownload(t *testing.T, url string, steps int) *download {
	t.Helper()
	d := &download{part: make([]byte, downloadPart), want: bytes.Repeat([]byte("0123456789abcdef"), downloadPart/16), size: (steps + 50) * downloadPart}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("%s/bytes/%d", url, d.size))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // read to its end where the test passes
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	d.resp = resp
	return d
}

func (d *download) String() string { return "download" }

func (d *download) use(int) error {
	n, err := io.ReadFull(d.resp.Body, d.part)
	if !bytes.Equal(d.part[:n], d.want[:n]) { // each part begins as the whole does
		return fmt.Errorf("bytes from %d on are not those of the host", d.at)
	}
	d.at += n
	return err
}

func (d *download) end() error {
	for d.at < d.size {
		if err := d.use(0); err != nil {
			return err
		}
	}
	if n, err := d.resp.Body.Read(d.part); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the end: %d bytes, %w", n, err)
	}
	return nil
}
