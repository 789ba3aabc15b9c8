package http2

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// mustOpen opens a session to a server that is at work.
func mustOpen(t testing.TB, s *served, own protocol.Owner) protocol.Session {
	t.Helper()
	up, err := NewClient(ClientOptions{}).Open(context.Background(), conn.New(s.nc), own)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// silent is an owner that notes nothing but the end.
type silent struct{ gone chan struct{} }

func (silent) Freed(protocol.Session)         {}
func (s silent) Gone(protocol.Session, error) { close(s.gone) }
func (silent) Resized(protocol.Session)       {}

// fixed is a handler that answers with a response of its own, made once. It serves one stream at a time.
type fixed struct {
	handler
	resp message.Response
	body message.Bytes
	data []byte
}

func (f *fixed) ServeStream(_ context.Context, s protocol.Stream) {
	if s.Request().Header.Get("cookie") == "" {
		s.Reset(errReset)
		return
	}
	f.body = *message.NewBytes(f.data)
	f.resp.Body = &f.body
	_ = s.Respond(&f.resp)
}

// TestExchangesAllocateNextToNothing counts both ends together.
func TestExchangesAllocateNextToNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	f := &fixed{data: make([]byte, 100)}
	f.resp = message.Response{Status: 200, Length: 100}
	f.resp.Header.Add("content-type", "text/plain")
	srv := start(t, ServerOptions{}, f)
	own := silent{make(chan struct{})}
	up := mustOpen(t, srv, own)
	sc := &scope.Scope{}
	sc.Init(func(scope.Due) error { return nil })
	sc.Begin(context.Background())
	r := request("GET", "/index.html?a=b", "")
	r.Header.Add("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
	r.Header.Add("cookie", "session=0123456789abcdef0123456789abcdef")
	once := func() {
		resp, err := up.RoundTrip(sc, r)
		if err != nil || resp.Status != 200 {
			t.Fatal(err)
		}
		n := 0
		for {
			p, err := resp.Body.Next()
			n += len(p)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		resp.Body.Close(nil)
		resp.Release()
		if n != 100 {
			t.Fatal(n)
		}
	}
	for range 100 {
		once()
	}
	n := testing.AllocsPerRun(2000, once)
	t.Logf("%v allocations an exchange, both ends", n)
	if n > 4 { // two an end
		t.Errorf("%v allocations an exchange", n)
	}
	up.Close(errors.New("over"))
	<-own.gone
}
