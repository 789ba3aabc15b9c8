package tlsinspector

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build makes the filter as a listener does.
func build(t testing.TB, cfg *inspectorv3.TlsInspector) (extension.Inspector, *stats.Store) {
	t.Helper()
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: &resource.Problems{}}
	f, err := Extension().New(env, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f, env.Stats
}

// A tape is a connection whose other side has said something and will say no more. What is written is kept.
type tape struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

var errTapeEnds = errors.New("the tape ends")

func (p *tape) Read(b []byte) (int, error) {
	if p.in == nil || p.in.Len() == 0 {
		return 0, errTapeEnds
	}
	return p.in.Read(b)
}
func (p *tape) Write(b []byte) (int, error)      { return p.out.Write(b) }
func (p *tape) Close() error                     { return nil }
func (p *tape) SetDeadline(time.Time) error      { return nil }
func (p *tape) SetReadDeadline(time.Time) error  { return nil }
func (p *tape) SetWriteDeadline(time.Time) error { return nil }
func (p *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// helloOf returns the records in which crypto/tls says hello.
func helloOf(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	p := &tape{}
	if err := tls.Client(p, cfg).Handshake(); !errors.Is(err, errTapeEnds) {
		t.Fatal(err)
	}
	return p.out.Bytes()
}

// onTape is a connection that the given bytes came on.
func onTape(b []byte) *conn.Conn { return conn.New(&tape{in: bytes.NewReader(b)}) }

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

// send writes pieces of step bytes from another goroutine, and then ends the stream. The function it returns waits for it.
func send(client *net.TCPConn, b []byte, step int) (wait func()) {
	sent := make(chan struct{})
	go func() { // ends when all is written, or the connection is closed
		defer close(sent)
		for len(b) > 0 {
			n := min(step, len(b))
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
			b = b[n:]
		}
		_ = client.CloseWrite()
	}()
	return func() { <-sent }
}

// An ext is an extension of a ClientHello.
type ext struct {
	kind    uint16
	content []byte
}

// vec is b with its length in size bytes before it.
func vec(size int, b []byte) []byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	return append(bytes.Clone(n[8-size:]), b...)
}

func words(list ...uint16) []byte {
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func serverName(name string) ext {
	return ext{extServerName, vec(2, append([]byte{0}, vec(2, []byte(name))...))}
}

func alpn(names ...string) ext { return ext{extALPN, vec(2, []byte(wire(names)))} }

// body is that of a ClientHello.
func body(version uint16, ciphers []uint16, exts ...ext) []byte {
	b := words(version)
	b = append(b, make([]byte, 32)...)
	b = append(b, vec(1, make([]byte, 32))...)
	b = append(b, vec(2, words(ciphers...))...)
	b = append(b, 1, 0)
	if exts == nil {
		return b
	}
	var all []byte
	for _, e := range exts {
		all = append(append(all, words(e.kind)...), vec(2, e.content)...)
	}
	return append(b, vec(2, all)...)
}

// records are the records of a ClientHello with a body, cut after every size bytes.
func records(body []byte, size int) []byte {
	m := append([]byte{typeClientHello}, vec(3, body)...)
	var b []byte
	for len(m) > 0 {
		n := min(size, len(m))
		b = append(append(b, typeHandshake, 3, 1), vec(2, m[:n])...)
		m = m[n:]
	}
	return b
}

// readAll reads what is left of a connection.
func readAll(t testing.TB, c *conn.Conn) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// processed is the sum of bytes_processed, as Prometheus is told it.
func processed(t *testing.T, store *stats.Store) string {
	t.Helper()
	var out strings.Builder
	if err := store.WritePrometheus(&out, stats.Query{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "bytes_processed_sum") {
			return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
		}
	}
	t.Fatalf("no bytes_processed in %s", out.String())
	return ""
}
