package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// loopback returns the two ends of a TCP connection.
func loopback(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// handler is a StreamHandler made of functions.
type handler struct {
	serve   func(ctx context.Context, s protocol.Stream)
	refused func(e *protocol.Error)
	expired func(s protocol.Stream, d scope.Due) error
}

func (h *handler) ServeStream(ctx context.Context, s protocol.Stream) { h.serve(ctx, s) }

func (h *handler) RefuseStream(_ context.Context, s protocol.Stream, e *protocol.Error) {
	if h.refused != nil {
		h.refused(e)
	}
	_ = s.Respond(reply(e.Status, e.Details))
}

func (h *handler) Expired(s protocol.Stream, d scope.Due) error {
	if h.expired == nil {
		return nil
	}
	return h.expired(s, d)
}

// reply is a response with a body in memory.
func reply(status int, body string) *message.Response {
	return &message.Response{Status: status, Body: message.NewBytes([]byte(body)), Length: int64(len(body))}
}

// echo answers with the request as the codec understood it.
func echo(_ context.Context, s protocol.Stream) {
	r := s.Request()
	body, err := message.ReadAll(r.Body, 1<<24)
	if err != nil {
		s.Reset(err)
		return
	}
	var b strings.Builder
	b.WriteString(r.Method + " " + r.Scheme + "://" + r.Authority + r.Path + "\n")
	for name, value := range r.Header.All() {
		b.WriteString(name + "=" + value + "\n")
	}
	b.WriteString("\n" + string(body))
	if tr := r.Body.Trailer(); tr != nil {
		for name, value := range tr.All() {
			b.WriteString("\ntrailer " + name + "=" + value)
		}
	}
	_ = s.Respond(reply(200, b.String()))
}

// A served is a Server at work on one connection, and a peer that speaks in frames.
type served struct {
	t     testing.TB
	nc    net.Conn
	c     *conn.Conn
	fr    *http2.Framer
	enc   *xhpack.Encoder
	buf   strings.Builder
	done  chan struct{}
	err   error
	stats *Stats

	cancel context.CancelCauseFunc // of Serve's context
}

// start serves a connection with the options; nothing is sent yet.
func start(t testing.TB, o ServerOptions, h protocol.StreamHandler) *served {
	near, far := loopback(t)
	s := startOn(t, o, h, near, far)
	_ = near.SetDeadline(time.Now().Add(patience))
	return s
}

// startOn is start on a connection of the caller's.
func startOn(t testing.TB, o ServerOptions, h protocol.StreamHandler, near, far net.Conn) *served {
	st := &Stats{}
	o.Stats = func(uint32) *Stats { return st }
	c := conn.New(far)
	c.Info().Began = time.Now()
	s := &served{t: t, nc: near, c: c, done: make(chan struct{}), stats: st}
	s.fr = http2.NewFramer(near, near)
	s.fr.AllowIllegalWrites, s.fr.AllowIllegalReads = true, true
	s.fr.SetMaxReadFrameSize(1 << 20)
	s.enc = xhpack.NewEncoder(&s.buf)
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.err = NewServer(o).Serve(ctx, c, h)
		_ = c.Close()
	}()
	t.Cleanup(func() {
		near.Close()
		select {
		case <-s.done:
		case <-time.After(patience):
			t.Error("Serve does not return")
		}
		cancel(errors.New("over"))
	})
	return s
}

// wait returns what Serve returned.
func (s *served) wait() error {
	s.t.Helper()
	select {
	case <-s.done:
		return s.err
	case <-time.After(patience):
		s.t.Fatal("Serve does not return")
		return nil
	}
}

// greet sends preface and settings.
func (s *served) greet(settings ...http2.Setting) *served {
	s.t.Helper()
	if _, err := io.WriteString(s.nc, preface); err != nil {
		s.t.Fatal(err)
	}
	if err := s.fr.WriteSettings(settings...); err != nil {
		s.t.Fatal(err)
	}
	return s
}

// block encodes fields given as name, value, ….
func (s *served) block(fields ...string) []byte {
	s.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.enc.WriteField(xhpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(s.buf.String())
}

// get is a block of a GET with more fields.
func (s *served) get(path string, more ...string) []byte {
	return s.block(append([]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", path}, more...)...)
}

// head sends HEADERS.
func (s *served) head(id uint32, end bool, block []byte) {
	s.t.Helper()
	if err := s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true}); err != nil {
		s.t.Fatal(err)
	}
}

// A heard is the answer to one stream.
type heard struct {
	fields  []xhpack.HeaderField
	interim []string
	body    string
	trailer []xhpack.HeaderField
	ended   bool
	reset   *http2.ErrCode
}

func (h *heard) get(name string) string {
	for _, f := range h.fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// A transcript is what came until the connection ended, or a condition held.
type transcript struct {
	streams map[uint32]*heard
	goAways []*http2.GoAwayFrame
	pings   int
	acks    int
	last    error // of reading
}

// hear reads frames until enough says so or the connection ends.
func (s *served) hear(tr *transcript, dec *xhpack.Decoder, enough func(*transcript) bool) {
	s.t.Helper()
	for !enough(tr) {
		f, err := s.fr.ReadFrame()
		if err != nil {
			tr.last = err
			return
		}
		tr.take(s, dec, f)
	}
}

func (tr *transcript) take(s *served, dec *xhpack.Decoder, f http2.Frame) {
	id := f.Header().StreamID
	st := tr.streams[id]
	if st == nil {
		st = &heard{}
		tr.streams[id] = st
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		block := append([]byte(nil), f.HeaderBlockFragment()...)
		for end := f.HeadersEnded(); !end; {
			c, err := s.fr.ReadFrame()
			if err != nil {
				s.t.Fatal(err)
			}
			cf := c.(*http2.ContinuationFrame)
			block = append(block, cf.HeaderBlockFragment()...)
			end = cf.HeadersEnded()
		}
		fields, err := dec.DecodeFull(block)
		if err != nil {
			s.t.Fatalf("undecodable header block: %v", err)
		}
		switch {
		case st.fields != nil:
			st.trailer = fields
		case len(fields) > 0 && fields[0].Name == ":status" && fields[0].Value[0] == '1':
			st.interim = append(st.interim, fields[0].Value)
		default:
			st.fields = fields
		}
		st.ended = st.ended || f.StreamEnded()
	case *http2.DataFrame:
		st.body += string(f.Data())
		st.ended = st.ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		code := f.ErrCode
		st.reset = &code
	case *http2.GoAwayFrame:
		g := *f
		tr.goAways = append(tr.goAways, &g)
	case *http2.PingFrame:
		if f.IsAck() {
			tr.pings++
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			tr.acks++
		}
	}
}

func newTranscript() (*transcript, *xhpack.Decoder) {
	return &transcript{streams: map[uint32]*heard{}}, xhpack.NewDecoder(4096, nil)
}

// over reports whether a stream has ended, one way or the other.
func over(ids ...uint32) func(*transcript) bool {
	return func(tr *transcript) bool {
		for _, id := range ids {
			if h := tr.streams[id]; h == nil || !h.ended && h.reset == nil {
				return false
			}
		}
		return true
	}
}

// hold answers /now at once and keeps everything else until it is cancelled.
func hold(ctx context.Context, s protocol.Stream) {
	if s.Request().Path != "/now" {
		<-ctx.Done()
		s.Reset(scope.Cause(ctx))
		return
	}
	_ = s.Respond(reply(200, "now"))
}

// large answers with a megabyte.
func large(_ context.Context, s protocol.Stream) {
	_ = s.Respond(reply(200, strings.Repeat("x", 1<<20)))
}
