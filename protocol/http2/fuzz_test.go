package http2

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// A tape is a connection whose peer has said everything already, and does not listen.
type tape struct {
	mu     sync.Mutex
	in     *bytes.Reader
	out    bytes.Buffer
	step   int // bytes that arrive at a time, with time for others in between; 0: all
	closed bool
}

func (c *tape) Read(p []byte) (int, error) {
	if c.step > 0 {
		runtime.Gosched()
		p = p[:min(len(p), c.step)]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.in.Read(p) // a deadline only wakes those who wait, and nobody does
}

func (c *tape) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.out.Write(p)
}

func (c *tape) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *tape) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *tape) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// seen is a handler that notes which streams it was given, reads bodies and answers.
type seen struct {
	handler
	mu sync.Mutex
	n  int
}

func newSeen() *seen {
	h := &seen{}
	h.serve = func(_ context.Context, s protocol.Stream) {
		h.mu.Lock()
		h.n++
		h.mu.Unlock()
		if s.Request().Method == "PUT" {
			_ = s.Respond(reply(200, "early"))
			return
		}
		if _, err := message.ReadAll(s.Request().Body, 1<<20); err != nil {
			s.Reset(err)
			return
		}
		_ = s.Respond(respond(200, s.Request().Path, "x", s.Request().Authority))
	}
	return h
}

// RefuseStream answers without a body, for which there might be no window.
func (h *seen) RefuseStream(_ context.Context, s protocol.Stream, e *protocol.Error) {
	_ = s.Respond(reply(e.Status, ""))
}

// replay serves a connection on which in arrives, and returns what was answered.
func replay(t *testing.T, in []byte, h protocol.StreamHandler, o ServerOptions) []byte {
	t.Helper()
	return replayOn(t, NewServer(o), &tape{in: bytes.NewReader(in)}, h)
}

// replayOn is replay on one server of several connections.
func replayOn(t *testing.T, srv *Server, nc *tape, h protocol.StreamHandler) []byte {
	t.Helper()
	c := conn.New(nc)
	c.Info().Began = time.Now()
	done := make(chan struct{})
	go func() { // ends with the input
		defer close(done)
		_ = srv.Serve(context.Background(), c, h)
		_ = c.Close()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
	return nc.out.Bytes()
}

// wellFormed reads frames that Weft wrote, as a strict reader does, and returns the last GOAWAY's code.
func wellFormed(t *testing.T, out []byte) (frames int, away *http2.ErrCode) {
	t.Helper()
	fr := http2.NewFramer(io.Discard, bytes.NewReader(out))
	fr.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return frames, away
		}
		if err != nil {
			t.Fatalf("Weft wrote a frame that is malformed: %v", err)
		}
		frames++
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code := g.ErrCode
			away = &code
		}
	}
}

// greeting is what every client begins with.
func greeting() []byte { return appendFrame([]byte(preface), frameSettings, 0, 0, 0) }

// seedFrames are inputs with a bit of everything.
func seedFrames() [][]byte {
	var enc bytes.Buffer
	x := xhpack.NewEncoder(&enc)
	block := func(fields ...string) []byte {
		enc.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = x.WriteField(xhpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(enc.Bytes())
	}
	var seeds [][]byte
	make1 := func(f func(fr *http2.Framer)) {
		var b bytes.Buffer
		fr := http2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		f(fr)
		seeds = append(seeds, b.Bytes())
	}
	get := block(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	make1(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get, EndStream: true, EndHeaders: true})
		_ = fr.WritePing(false, [8]byte{1})
	})
	make1(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get, EndHeaders: true, PadLength: 3})
		_ = fr.WriteDataPadded(1, false, []byte("hello"), make([]byte, 5))
		_ = fr.WriteWindowUpdate(1, 100)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("t", "v"), EndStream: true, EndHeaders: true})
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	})
	make1(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get[:2], Priority: http2.PriorityParam{StreamDep: 5, Weight: 3}})
		_ = fr.WriteContinuation(1, true, get[2:])
		_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = fr.WritePriority(3, http2.PriorityParam{StreamDep: 1})
		_ = fr.WriteGoAway(0, http2.ErrCodeNo, []byte("x"))
	})
	make1(func(fr *http2.Framer) { _ = fr.WriteData(0, true, []byte("x")) })
	make1(func(fr *http2.Framer) {
		_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: get})
	})
	return seeds
}

// FuzzFrames feeds a server connection with anything. Streams that are opened behind what Go's reader calls a connection error are not
// served.
func FuzzFrames(f *testing.F) {
	for _, s := range seedFrames() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		h := newSeen()
		_, _ = wellFormed(t, replay(t, append(greeting(), in...), h, ServerOptions{Options: Options{StreamErrors: true}}))
		fr := http2.NewFramer(io.Discard, bytes.NewReader(in))
		fr.SetMaxReadFrameSize(maxFrame)
		heads := 0
		for {
			fm, err := fr.ReadFrame()
			if err != nil && (err == http2.ErrFrameTooLarge || isConnectionError(err)) || err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err == nil && fm.Header().Type == http2.FrameHeaders {
				heads++
			}
		}
		if h.n > heads {
			t.Errorf("%d streams were served, of %d that are well-formed", h.n, heads)
		}
	})
}

func isConnectionError(err error) bool {
	_, ok := err.(http2.ConnectionError)
	return ok
}

// A program makes frames of bytes, so that most of them make sense.
type program struct {
	in  []byte
	fr  *http2.Framer
	enc *xhpack.Encoder
	buf bytes.Buffer
}

func (p *program) byte() byte {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

// words are the names and values of fields.
var words = [...]string{":method", ":scheme", ":authority", ":path", ":status", ":protocol", "host", "cookie", "content-length", "te", "expect",
	"connection", "x", "X", "GET", "PUT", "CONNECT", "HEAD", "http", "a", "/", "200", "100", "websocket", "5", "0", "trailers", "100-continue", ""}

func (p *program) fields(response bool) []byte {
	p.buf.Reset()
	kind := p.byte()
	add := func(name, value string) { _ = p.enc.WriteField(xhpack.HeaderField{Name: name, Value: value}) }
	if kind&3 != 0 {
		if response {
			add(":status", [...]string{"200", "204", "304", "103", "100"}[kind>>2%5])
		} else {
			add(":method", [...]string{"GET", "PUT", "HEAD", "POST"}[kind>>2&3])
			add(":scheme", "http")
			add(":authority", "a")
			add(":path", "/")
		}
	}
	for range kind >> 4 & 7 {
		add(words[int(p.byte())%len(words)], words[int(p.byte())%len(words)])
	}
	return bytes.Clone(p.buf.Bytes())
}

// run writes the program's frames.
func (p *program) run(response bool) {
	payload := bytes.Repeat([]byte("x"), maxFrame)
	for n := 0; len(p.in) > 0 && n < 200; n++ {
		op, flags := p.byte(), p.byte()
		id := uint32(p.byte() & 15)
		end := flags&1 != 0
		switch op % 12 {
		case 0, 1, 2:
			h := http2.HeadersFrameParam{StreamID: id | 1, BlockFragment: p.fields(response), EndStream: end, EndHeaders: flags&2 == 0}
			if flags&4 != 0 {
				h.PadLength = 7
			}
			_ = p.fr.WriteHeaders(h)
			if flags&2 != 0 {
				_ = p.fr.WriteContinuation(id|1, flags&8 == 0, p.fields(response))
			}
		case 3, 4, 5:
			size := int(p.byte())
			if flags&16 != 0 {
				size = min(size*64, maxFrame)
			}
			_ = p.fr.WriteData(id|1, end, payload[:size])
		case 6:
			_ = p.fr.WriteRSTStream(id|1, http2.ErrCode(flags))
		case 7:
			_ = p.fr.WriteWindowUpdate(id, uint32(p.byte())<<(flags&23))
		case 8:
			_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingID(flags % 9), Val: uint32(p.byte()) << (id * 2)})
		case 9:
			_ = p.fr.WritePing(end, [8]byte{flags})
		case 10:
			_ = p.fr.WriteGoAway(id, http2.ErrCode(flags), nil)
		case 11:
			_ = p.fr.WriteRawFrame(http2.FrameType(flags), http2.Flags(p.byte()), id, payload[:p.byte()])
		}
	}
}

func newProgram(in []byte, w io.Writer) *program {
	p := &program{in: in, fr: http2.NewFramer(w, nil)}
	p.fr.AllowIllegalWrites = true
	p.enc = xhpack.NewEncoder(&p.buf)
	return p
}

func seedPrograms(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1})
	f.Add([]byte{0, 0, 1, 1, 3, 0, 1, 50, 3, 1, 1, 9, 0, 1, 3, 5})
	f.Add([]byte{0, 2, 1, 0x15, 6, 7, 8, 9, 0, 6, 8, 1, 8, 4, 2, 5, 7, 0, 1, 9, 9, 0, 0})
	f.Add([]byte{0, 1, 3, 1, 6, 8, 3, 10, 0, 3, 0, 1, 5, 1, 11, 5, 1, 9, 8})
	f.Add([]byte{8, 4, 0, 0, 0, 1, 1, 1, 7, 3, 1, 4, 7, 3, 0, 4})
}

// FuzzClientConn is a hostile server under several calls.
func FuzzClientConn(f *testing.F) {
	seedPrograms(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := inMemory()
		own := newOwner()
		s, err := NewClient(ClientOptions{}).Open(context.Background(), conn.New(near), own)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, far) }() // ends with the connection
		const calls = 3
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				r := request([]string{"GET", "POST", "HEAD"}[i], "/", []string{"", "body", ""}[i])
				resp, err := s.RoundTrip(context.Background(), r)
				if err != nil {
					return
				}
				_, err = message.ReadAll(resp.Body, 1<<22)
				resp.Body.Close(err)
				resp.Release()
			})
		}
		p := newProgram(in, far)
		if p.fr.WriteSettings() == nil {
			for s.(*session).opened() < calls { // a stream that is not open is a fault
				runtime.Gosched()
			}
			p.run(true)
		}
		_ = far.Close()
		wg.Wait()
		s.Close(nil)
		own.await(t, func(o *owner) bool { return o.freed == calls && o.gone == 1 })
	})
}
