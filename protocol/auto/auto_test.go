package auto

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// A named codec says that it was called, and with which bytes.
type named string

func (n named) Serve(_ context.Context, c *conn.Conn, _ protocol.StreamHandler) error {
	return errors.New(string(n) + " " + string(c.Buffered()))
}

// pair returns a connection as a server sees it, and its peer.
func pair(t *testing.T, socket bool) (*conn.Conn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	if socket {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if near, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	_ = far.SetDeadline(time.Now().Add(patience))
	c := conn.New(near)
	c.Info().Began = time.Now()
	t.Cleanup(func() { _, _ = c.Close(), far.Close() })
	return c, far
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Error(err)
	}
}

// serving runs Serve and returns where its result will be.
func serving(t *testing.T, s *Server, ctx context.Context, c *conn.Conn) <-chan error {
	got := make(chan error, 1)
	go func() { got <- s.Serve(ctx, c, nil) }() // ends when Serve does, at the latest when the test closes the connection
	return got
}

func result(t *testing.T, got <-chan error) error {
	t.Helper()
	select {
	case err := <-got:
		return err
	case <-time.After(patience):
		t.Fatal("Serve did not return")
		return nil
	}
}

func TestFirstBytesChooseTheCodec(t *testing.T) {
	s := New(named("h1"), named("h2"), Options{})
	for in, want := range map[string]string{
		preface:                      "h2 " + preface,
		preface + ".0\r\n\r\nSM\r\n": "h2 " + preface,
		"G":                          "h1 G",
		"PO":                         "h1 PO",
		"PUT":                        "h1 PU",
		"PRIX":                       "h1 PRIX",
		"PRI / HTTP/1.1\r\n":         "h1 PRI /",
		"PRI * HTTP/1":               "h1 PRI * HTTP/1",
		"\r\nPRI":                    "h1 \r",
		"\x16\x03":                   "h1 \x16",
	} {
		for _, socket := range []bool{true, false} {
			for _, whole := range []bool{true, false} {
				c, far := pair(t, socket)
				got := serving(t, s, t.Context(), c)
				go func() { // ends when the codec was chosen: what is written after that fails, or stays unread in the socket
					if whole {
						_, _ = io.WriteString(far, in)
						return
					}
					for i := range len(in) {
						if _, err := io.WriteString(far, in[i:i+1]); err != nil {
							return
						}
					}
				}()
				// A codec gets what was decisive, and perhaps more.
				if err := result(t, got); !strings.HasPrefix(err.Error(), want) || !strings.HasPrefix(in, err.Error()[3:]) {
					t.Errorf("%q (socket %v, whole %v): %q", in, socket, whole, err)
				}
				if c.IdleSince != 0 {
					t.Errorf("%q: the connection is left idle", in)
				}
				_, _ = c.Close(), far.Close()
			}
		}
	}
}

func TestBufferedBytesAreNotWaitedFor(t *testing.T) {
	c, far := pair(t, true)
	write(t, far, "GET /")
	if _, err := c.Peek(5); err != nil {
		t.Fatal(err)
	}
	if err := New(named("h1"), named("h2"), Options{}).Serve(t.Context(), c, nil); err.Error() != "h1 GET /" {
		t.Error(err)
	}
}

func TestALPNDecidesWithoutABuffer(t *testing.T) {
	for alpn, want := range map[string]string{"h2": "h2 ", "http/1.1": "h1 "} {
		c, _ := pair(t, true)
		c.Info().TLS = &conn.TLS{ALPN: alpn}
		if err := New(named("h1"), named("h2"), Options{}).Serve(t.Context(), c, nil); err.Error() != want {
			t.Errorf("%s: %v", alpn, err)
		}
	}
	c, far := pair(t, true) // no protocol was negotiated: the bytes decide
	c.Info().TLS = &conn.TLS{}
	write(t, far, preface)
	if err := New(named("h1"), named("h2"), Options{}).Serve(t.Context(), c, nil); err.Error() != "h2 "+preface {
		t.Error(err)
	}
}

func TestConnectionThatWasServedIsHTTP1(t *testing.T) {
	c, far := pair(t, true)
	c.Served, c.IdleSince = 1, 1
	write(t, far, preface)
	if err := New(named("h1"), named("h2"), Options{}).Serve(t.Context(), c, nil); err.Error() != "h1 " {
		t.Error(err)
	}
}

func TestWaitIsBounded(t *testing.T) {
	const short = 20 * time.Millisecond
	for _, tt := range []struct {
		name, in string
		o        Options
		want     error
	}{
		{"idle", "", Options{IdleTimeout: short}, protocol.ErrIdleTimeout},
		{"duration", "", Options{IdleTimeout: time.Hour, MaxDuration: short}, protocol.ErrMaxDuration},
		{"slow preface", "PRI * HT", Options{IdleTimeout: time.Hour, HeadersTimeout: short}, protocol.ErrHeadersTimeout},
		{"slow preface without headers timeout", "P", Options{IdleTimeout: short}, protocol.ErrIdleTimeout},
	} {
		for _, socket := range []bool{true, false} {
			c, far := pair(t, socket)
			if tt.in != "" {
				go func() { _, _ = io.WriteString(far, tt.in) }() // ends when it was read
				if _, err := c.Peek(len(tt.in)); err != nil {
					t.Fatal(err)
				}
			}
			if err := result(t, serving(t, New(named("h1"), named("h2"), tt.o), t.Context(), c)); err != tt.want {
				t.Errorf("%s (socket %v): %v", tt.name, socket, err)
			}
			if c.Woken() != nil {
				t.Errorf("%s: left woken", tt.name)
			}
		}
	}
}

func TestEndOfTheConnection(t *testing.T) {
	for in, want := range map[string]error{"": io.EOF, "PRI": io.ErrUnexpectedEOF} {
		c, far := pair(t, true)
		write(t, far, in)
		_ = far.(*net.TCPConn).CloseWrite()
		if err := New(named("h1"), named("h2"), Options{}).Serve(t.Context(), c, nil); err != want {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestIdleConnectionIsParkedAndServedAgain(t *testing.T) {
	for in, want := range map[string]string{preface: "h2 ", "GET ": "h1 "} {
		c, far := pair(t, true)
		s := New(named("h1"), named("h2"), Options{IdleTimeout: time.Hour, ParkAfter: time.Millisecond})
		if err := result(t, serving(t, s, t.Context(), c)); err != conn.ErrParked {
			t.Fatal(err)
		}
		if c.IdleSince == 0 || c.WakeAt <= c.IdleSince {
			t.Errorf("idle since %d, to be woken at %d", c.IdleSince, c.WakeAt)
		}
		write(t, far, in)
		if err := c.AwaitPeer(); err != nil {
			t.Fatal(err)
		}
		if err := result(t, serving(t, s, t.Context(), c)); err.Error() != want+in || c.IdleSince != 0 {
			t.Errorf("%v, idle since %d", err, c.IdleSince)
		}
	}
}

func TestDrainWakesAConnectionWithoutBytes(t *testing.T) {
	for _, before := range []bool{true, false} {
		c, _ := pair(t, true)
		if before {
			c.Drain()
		}
		got := serving(t, New(named("h1"), named("h2"), Options{}), t.Context(), c)
		c.Drain()
		if err := result(t, got); err != conn.ErrDraining {
			t.Error(err)
		}
	}
}

func TestDrainLeavesABegunMessageToTheCodec(t *testing.T) {
	c, far := pair(t, true)
	write(t, far, "PRI")
	if _, err := c.Peek(3); err != nil {
		t.Fatal(err)
	}
	got := serving(t, New(named("h1"), named("h2"), Options{}), t.Context(), c)
	c.Drain()
	write(t, far, preface[3:])
	if err := result(t, got); err.Error() != "h2 "+preface || !c.Draining() || c.Woken() != nil {
		t.Errorf("%v, draining %v, woken %v", err, c.Draining(), c.Woken())
	}
}

func TestContextEndsTheWait(t *testing.T) {
	cause := errors.New("gone")
	for _, in := range []string{"", "PRI"} {
		c, far := pair(t, true)
		if in != "" {
			write(t, far, in)
			if _, err := c.Peek(len(in)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		got := serving(t, New(named("h1"), named("h2"), Options{}), ctx, c)
		cancel(cause)
		if err := result(t, got); err != cause {
			t.Errorf("%q: %v", in, err)
		}
	}
}
