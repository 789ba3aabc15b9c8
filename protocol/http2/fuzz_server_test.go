package http2

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// fuzzStreams is MaxStreams of the servers that are fuzzed: a quarter of the streams that a program may open.
const fuzzStreams = 2

// counted is a handler that counts what is at work, reads bodies without keeping them, and answers with the path.
type counted struct {
	handler
	atWork, mostAtWork atomic.Int64
	mostGoroutines     atomic.Int64
}

func newCounted() *counted {
	h := &counted{}
	h.serve = func(_ context.Context, s protocol.Stream) {
		defer h.enter()()
		if s.Request().Method == "PUT" {
			_ = s.Respond(reply(200, "early"))
			return
		}
		for {
			_, err := s.Request().Body.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				s.Reset(err)
				return
			}
		}
		_ = s.Respond(reply(200, s.Request().Path))
	}
	return h
}

// enter notes that a handler is at work until the function that it returns is called.
func (h *counted) enter() (leave func()) {
	raise(&h.mostAtWork, h.atWork.Add(1))
	raise(&h.mostGoroutines, int64(runtime.NumGoroutine()))
	return func() { h.atWork.Add(-1) }
}

// RefuseStream answers without a body, for which there might be no window.
func (h *counted) RefuseStream(_ context.Context, s protocol.Stream, e *protocol.Error) {
	defer h.enter()()
	_ = s.Respond(reply(e.Status, ""))
}

func raise(a *atomic.Int64, n int64) {
	for old := a.Load(); n > old && !a.CompareAndSwap(old, n); old = a.Load() {
	}
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// attack feeds a connection of srv with frames, and holds what that costs against bounds.
func attack(t *testing.T, srv *Server, frames []byte) {
	t.Helper()
	const (
		others   = 16        // goroutines of a connection besides those of handlers
		handlers = 2         // for each stream that may be open: those of reset streams count
		fixed    = 512 << 10 // bytes that a connection may allocate
		factor   = 2         // and for each byte that it is sent
	)
	h := newCounted()
	in := append(greeting(), frames...)
	goroutines, bytesBefore := runtime.NumGoroutine(), allocated()
	out := replayOn(t, srv, &tape{in: bytes.NewReader(in), step: max(32, len(in)/200)}, h)
	used := allocated() - bytesBefore
	if limit := uint64(fixed + factor*len(in)); used > limit {
		t.Errorf("%d bytes of frames cost %d bytes of memory, want at most %d", len(in), used, limit)
	}
	if n := h.mostAtWork.Load(); n > handlers*fuzzStreams {
		t.Errorf("%d handlers at a time, want at most %d", n, handlers*fuzzStreams)
	}
	if n := h.mostGoroutines.Load() - int64(goroutines); n > handlers*fuzzStreams+others {
		t.Errorf("%d goroutines more, want at most %d", n, handlers*fuzzStreams+others)
	}
	for until := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines are left, of a connection that began with %d", runtime.NumGoroutine(), goroutines)
		}
	}
	_, _ = wellFormed(t, out)
}

// healthy opens a connection to srv, and expects answers to requests on it.
func healthy(t *testing.T, srv *Server) {
	t.Helper()
	near, far := inMemory()
	_ = near.SetDeadline(time.Now().Add(patience))
	c := conn.New(far)
	c.Info().Began = time.Now()
	done := make(chan error, 1)
	go func() { // ends with the connection
		err := srv.Serve(context.Background(), c, newCounted())
		_ = c.Close()
		done <- err
	}()
	fr := http2.NewFramer(near, near)
	fr.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	enc := xhpack.NewEncoder(&block)
	if _, err := near.Write(greeting()); err != nil {
		t.Fatal(err)
	}
	for id := uint32(1); id < 6; id += 2 {
		block.Reset()
		path := "/" + strconv.Itoa(int(id))
		for _, f := range []xhpack.HeaderField{
			{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: path},
		} {
			_ = enc.WriteField(f)
		}
		err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		if err == nil {
			err = fr.WriteData(id, true, []byte("body"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if status, body := readAnswer(t, fr, id); status != "200" || body != path {
			t.Fatalf("a healthy client got %s %q for %s", status, body, path)
		}
	}
	_ = near.Close()
	select {
	case err := <-done:
		if err != io.EOF {
			t.Errorf("a healthy connection ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
}

// readAnswer reads frames to the end of a stream.
func readAnswer(t *testing.T, fr *http2.Framer, id uint32) (status, body string) {
	t.Helper()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("a healthy client: %v", err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
		case *http2.DataFrame:
			body += string(f.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			t.Fatalf("a healthy client got %v", f)
		}
		if f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().Type <= http2.FrameHeaders {
			return status, body
		}
	}
}

// FuzzServerConn feeds a server connection with frames that make sense one by one. They cost a bounded share of memory and of
// goroutines, and the next connection of the same server is served.
func FuzzServerConn(f *testing.F) {
	seedPrograms(f)
	var many, reset []byte // requests whose bodies do not come; half of them reset
	for id := byte(1); id < 16; id += 2 {
		many, reset = append(many, 0, 0, id, 13), append(reset, 0, 0, id, 13)
		if id&2 != 0 {
			reset = append(reset, 6, 8, id)
		}
	}
	f.Add(many)
	f.Add(reset)
	f.Fuzz(func(t *testing.T, in []byte) {
		var b bytes.Buffer
		newProgram(in, &b).run(false)
		for _, lenient := range []bool{false, true} {
			srv := NewServer(ServerOptions{Options: Options{StreamErrors: lenient, AllowConnect: lenient, MaxStreams: fuzzStreams}})
			attack(t, srv, b.Bytes())
			healthy(t, srv)
		}
	})
}
