package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"syscall"
	"time"
)

// A Peer is the end of a connection that the test holds: a client of Weft, or a connection that an upstream left to the test.
// Its methods are for one goroutine; each gives up after the lab's patience. It is closed when the test ends.
type Peer struct {
	net.Conn
	in      *recorder
	methods []string // of the requests sent that were not answered yet
	limit   time.Duration
}

// requestLine finds what Send sends the methods of.
var requestLine = regexp.MustCompile(`(?m)^([A-Z]+) [^ \r\n]+ HTTP/1\.[01]\r$`) // immutable

func newPeer(c net.Conn, limit time.Duration) *Peer {
	return &Peer{Conn: c, in: newRecorder(c), limit: limit}
}

// Send writes bytes as they are. It notes the methods of requests in them, so that Response knows which responses have no body.
func (c *Peer) Send(b []byte) error {
	for _, m := range requestLine.FindAllSubmatch(b, -1) {
		c.methods = append(c.methods, string(m[1]))
	}
	return c.write(b)
}

// write is Send without a look at the bytes.
func (c *Peer) write(b []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

// patient gives reading the lab's patience from now on.
func (c *Peer) patient() error { return c.SetReadDeadline(time.Now().Add(c.limit)) }

// Response reads the next response, informational ones included, with its body. A body that breaks off is in its Err; an error is
// returned when there is no response head.
func (c *Peer) Response() (*Message, error) {
	m, err := c.Head()
	if err != nil {
		return nil, err
	}
	_ = c.Body(m) // kept in m.Err
	return m, nil
}

// Head reads the head of the next response.
func (c *Peer) Head() (*Message, error) {
	if err := c.patient(); err != nil {
		return nil, err
	}
	method := "GET"
	if len(c.methods) > 0 {
		method = c.methods[0]
	}
	m, err := c.in.response(method)
	if err != nil {
		return nil, err
	}
	if len(c.methods) > 0 && (m.status >= 200 || m.status == 101) {
		c.methods = c.methods[1:]
	}
	return m, nil
}

// Request reads the head of the next request; Body reads the rest.
func (c *Peer) Request() (*Message, error) {
	if err := c.patient(); err != nil {
		return nil, err
	}
	return c.in.request()
}

// Body reads the rest of the message whose head was read.
func (c *Peer) Body(m *Message) error { return c.in.body(m) }

// Bytes reads exactly n bytes.
func (c *Peer) Bytes(n int) ([]byte, error) {
	if err := c.patient(); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	got, err := io.ReadFull(c.in, b)
	return b[:got], err
}

// Until reads up to and including what ends with mark.
func (c *Peer) Until(mark string) ([]byte, error) {
	if err := c.patient(); err != nil {
		return nil, err
	}
	var all []byte
	for !bytes.HasSuffix(all, []byte(mark)) {
		one, err := c.in.br.ReadByte()
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

// End reads the end of the connection: "end" when the peer closed its side in order, "reset" when it broke it off. Bytes that come
// before, or a peer that does neither, are an error.
func (c *Peer) End() (string, error) {
	if err := c.patient(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c.in)
	how := howEnded(err)
	switch {
	case len(b) > 0:
		return how, fmt.Errorf("%q before the end", clip(b))
	case how == "":
		return how, err
	}
	return how, nil
}

// howEnded says how a connection whose Read returned this error has ended, "" when it has not.
func howEnded(err error) string {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "end"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe):
		return "reset"
	}
	return ""
}

func clip(b []byte) []byte {
	const most = 300
	return b[:min(len(b), most)]
}

// CloseWrite ends the sending half.
func (c *Peer) CloseWrite() error {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return hc.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Reset closes the connection with a reset.
func (c *Peer) Reset() error { return reset(c.Conn) }

func reset(c net.Conn) error {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		if err := l.SetLinger(0); err != nil {
			return err
		}
	}
	return c.Close()
}

// dial connects with the lab's patience as limit.
func dial(ctx context.Context, limit time.Duration, f func(context.Context) (net.Conn, error)) (*Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := f(ctx)
	if err != nil {
		return nil, err
	}
	return newPeer(c, limit), nil
}
