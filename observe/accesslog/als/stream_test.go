package als

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A pipeListener accepts what its dial makes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// An origin is an access log service that can be stopped and started, and does not read while hold is closed.
type origin struct {
	servicev3.UnimplementedAccessLogServiceServer
	mu       sync.Mutex
	listener *pipeListener
	server   *grpc.Server
	dials    int
	streams  []string // log names, one a stream
	paths    []string // of entries
	headers  metadata.MD
	at       []time.Time   // when messages came
	hold     chan struct{} // nil: it reads
	limit    int           // messages after which it ends a stream; 0: none
}

func newOrigin(t *testing.T) *origin {
	o := &origin{}
	o.start()
	t.Cleanup(o.stop)
	return o
}

func (o *origin) start() {
	g, l := grpc.NewServer(), &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	servicev3.RegisterAccessLogServiceServer(g, o)
	o.mu.Lock()
	o.listener, o.server = l, g
	o.mu.Unlock()
	go g.Serve(l)
}

func (o *origin) stop() {
	o.listener.Close()
	o.server.Stop()
}

func (o *origin) dial(ctx context.Context, cluster string) (net.Conn, error) {
	if cluster != "als" {
		return nil, fmt.Errorf("unknown cluster %q", cluster)
	}
	o.mu.Lock()
	o.dials++
	l := o.listener
	o.mu.Unlock()
	return l.dial(ctx)
}

func (o *origin) StreamAccessLogs(s servicev3.AccessLogService_StreamAccessLogsServer) error {
	for n := 1; ; n++ {
		if o.hold != nil {
			select {
			case <-o.hold:
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
		m, err := s.Recv()
		if err != nil {
			return s.SendAndClose(&servicev3.StreamAccessLogsResponse{})
		}
		o.mu.Lock()
		if id := m.GetIdentifier(); (id != nil) != (n == 1) {
			panic("only the first message names the log")
		} else if id != nil {
			o.streams = append(o.streams, id.GetLogName())
			o.headers, _ = metadata.FromIncomingContext(s.Context())
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			o.paths = append(o.paths, e.GetRequest().GetPath())
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			o.paths = append(o.paths, e.GetCommonProperties().GetRouteName())
		}
		o.at = append(o.at, time.Now())
		o.mu.Unlock()
		if n == o.limit {
			return s.SendAndClose(&servicev3.StreamAccessLogsResponse{})
		}
	}
}

// look lets f read the fields.
func (o *origin) look(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *origin) connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dials
}

// state tells whether a stream has a goroutine, and how many bytes wait.
func state(s *stream) (running bool, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.waiting
}

// got is what has come, as "log log: path path".
func (o *origin) got() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.streams, " ") + ": " + strings.Join(o.paths, " ")
}

// A rig is a set of streams with what it says. It runs in a bubble of its own.
type rig struct {
	*Streams
	store *stats.Store
	log   *bytes.Buffer // read when the set is closed, or nothing runs
}

func newRig(dial func(context.Context, string) (net.Conn, error)) *rig {
	r := &rig{store: stats.NewStore(stats.Options{}), log: &bytes.Buffer{}}
	r.Streams = NewStreams(Options{Node: &corev3.Node{Id: "me"}, Dial: dial, Stats: r.store, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	return r
}

func (r *rig) counts(t *testing.T, written, dropped uint64) {
	t.Helper()
	if w, d := r.written.Value(), r.dropped.Value(); w != written || d != dropped {
		t.Errorf("%d written and %d dropped, want %d and %d", w, d, written, dropped)
	}
}

func entryOf(path string) *observe.Entry {
	return &observe.Entry{Request: &message.Request{Path: path}, Record: &observe.Record{Route: path}}
}

func named(name string) func(*alsv3.HttpGrpcAccessLogConfig) {
	return func(c *alsv3.HttpGrpcAccessLogConfig) { c.CommonConfig.LogName = name }
}

func TestEntriesAreSentWhenTheyAreOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		r := newRig(o.dial)
		defer r.Close()
		l := testHTTP(t, r.Streams, func(c *alsv3.HttpGrpcAccessLogConfig) {
			c.CommonConfig.BufferFlushInterval = durationpb.New(3 * time.Second)
			c.CommonConfig.GrpcService.InitialMetadata = []*corev3.HeaderValue{
				{Key: "x-who", Value: "weft"}, {Key: "x-bin", RawValue: []byte{0, 1}},
			}
		})
		began := time.Now()
		l.Log(entryOf("/1"))
		l.Log(entryOf("/2"))
		time.Sleep(2 * time.Second)
		l.Log(entryOf("/3"))
		synctest.Wait()
		if got := o.got(); got != ": " {
			t.Errorf("%q is too early", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := o.got(); got != "log: /1 /2 /3" {
			t.Errorf("%q", got)
		}
		o.look(func() {
			if len(o.at) != 1 || o.at[0].Sub(began) != 3*time.Second {
				t.Errorf("at %v", o.at)
			}
			for name, want := range map[string]string{"x-who": "weft", "x-bin": "\x00\x01", ":authority": "als"} {
				if got := o.headers.Get(name); len(got) != 1 || got[0] != want {
					t.Errorf("metadata %q: %q, want %q", name, got, want)
				}
			}
		})
		time.Sleep(time.Minute)
		l.Log(entryOf("/4"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := o.got(); got != "log: /1 /2 /3 /4" || o.connections() != 1 {
			t.Errorf("%q, %d connections", got, o.connections())
		}
		r.counts(t, 4, 0)
	})
}

func TestEntriesAreSentWhenTheyAreMany(t *testing.T) {
	for _, c := range []struct {
		size     uint32
		messages int
	}{{0, 6}, {100, 3}, {1 << 30, 0}} { // an entry is 60 bytes
		synctest.Test(t, func(t *testing.T) {
			o := newOrigin(t)
			r := newRig(o.dial)
			defer r.Close()
			l := testHTTP(t, r.Streams, func(c1 *alsv3.HttpGrpcAccessLogConfig) { c1.CommonConfig.BufferSizeBytes = wrapperspb.UInt32(c.size) })
			for range 6 {
				l.Log(entryOf("/" + strings.Repeat("x", 22)))
			}
			synctest.Wait()
			o.look(func() {
				if len(o.at) != c.messages {
					t.Errorf("size %d: %d messages, want %d", c.size, len(o.at), c.messages)
				}
			})
		})
	}
}

// Logs share a stream if what they say of it is the same; their entries may differ.
func TestLogsShareStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		r := newRig(o.dial)
		defer r.Close()
		a, b := testHTTP(t, r.Streams, named("a")), testHTTP(t, r.Streams, named("b"))
		tagged := testHTTP(t, r.Streams, func(c *alsv3.HttpGrpcAccessLogConfig) {
			named("a")(c)
			c.CommonConfig.CustomTags, c.AdditionalRequestHeadersToLog = customTags(), []string{"x"}
		})
		if a.stream != tagged.stream || a.stream == b.stream {
			t.Error("a stream is shared wrongly")
		}
		tcp, err := NewTCP(r.Streams, formatOptions(), &alsv3.TcpGrpcAccessLogConfig{CommonConfig: common("a")})
		if err != nil {
			t.Fatal(err)
		}
		a.Log(entryOf("/a"))
		tagged.Log(entryOf("/tagged"))
		time.Sleep(time.Second)
		b.Log(entryOf("/b"))
		time.Sleep(time.Second)
		tcp.Log(entryOf("tcp"))
		time.Sleep(time.Second)
		synctest.Wait()
		if got := o.got(); got != "a b a: /a /tagged /b tcp" || o.connections() != 3 {
			t.Errorf("%q, %d connections", got, o.connections())
		}
	})
}

func TestAServiceThatReturnsGetsWhatHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		r := newRig(o.dial)
		defer r.Close()
		l := testHTTP(t, r.Streams, named("log"))
		l.Log(entryOf("/1"))
		time.Sleep(time.Second)
		synctest.Wait()
		o.stop()
		for i := range 100 {
			l.Log(entryOf(fmt.Sprint("/", 2+i)))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		dials := o.connections()
		if dials < 5 || dials > 40 {
			t.Errorf("%d connections in 100 s; their distance doubles up to 30 s", dials)
		}
		o.start()
		time.Sleep(retryMost)
		synctest.Wait()
		want := "log log:"
		for i := range 101 {
			want += fmt.Sprint(" /", 1+i)
		}
		if got := o.got(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		r.counts(t, 101, 0)
		r.Close()
		if n := strings.Count(r.log.String(), "cannot be sent"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, r.log)
		}
	})
}

func TestAServiceMayEndStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		o.limit = 2
		r := newRig(o.dial)
		defer r.Close()
		l := testHTTP(t, r.Streams, named("log"))
		want := "log log log:"
		for i := range 6 {
			l.Log(entryOf(fmt.Sprint("/", i)))
			want += fmt.Sprint(" /", i)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if got := o.got(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		r.counts(t, 6, 0)
		r.Close()
		if strings.Contains(r.log.String(), "cannot") {
			t.Errorf("that is nothing to warn of:\n%s", r.log)
		}
	})
}

// A service that does not read costs 4 MiB and what the connection holds; then entries are dropped. Log never waits.
func TestASlowServiceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		o.hold = make(chan struct{})
		r := newRig(o.dial)
		defer r.Close()
		l := testHTTP(t, r.Streams, named("log"))
		long := entryOf("/" + strings.Repeat("x", 10_000)) // in the entry twice
		for range 1000 {
			l.Log(long)
			synctest.Wait()
			if _, waiting := state(l.stream); waiting > maxWaiting {
				t.Fatalf("%d bytes wait", waiting)
			}
		}
		written, dropped := r.written.Value(), r.dropped.Value()
		if written < 200 || written > 250 || written+dropped != 1000 {
			t.Errorf("%d written, %d dropped", written, dropped)
		}
		close(o.hold)
		time.Sleep(time.Minute)
		synctest.Wait()
		o.look(func() {
			if len(o.paths) != int(written) {
				t.Errorf("%d have come, want %d", len(o.paths), written)
			}
		})
		l.Log(entryOf("/last"))
		time.Sleep(time.Second)
		synctest.Wait()
		r.counts(t, written+1, dropped)
		if _, waiting := state(l.stream); waiting != 0 {
			t.Errorf("%d bytes wait for nothing", waiting)
		}
	})
}

func TestCloseSendsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		r := newRig(o.dial)
		l := testHTTP(t, r.Streams, func(c *alsv3.HttpGrpcAccessLogConfig) {
			c.CommonConfig.BufferFlushInterval = durationpb.New(time.Hour)
		})
		began := time.Now()
		l.Log(entryOf("/1"))
		r.Close()
		if got := o.got(); got != "log: /1" || time.Since(began) > 0 {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		l.Log(entryOf("/late"))
		testHTTP(t, r.Streams, named("later")).Log(entryOf("/late"))
		r.Close()
		r.counts(t, 1, 2)
	})
}

func TestCloseWaitsNoLongerThanASecond(t *testing.T) {
	for name, dial := range map[string]func(*origin) func(context.Context, string) (net.Conn, error){
		"a service that does not read": func(o *origin) func(context.Context, string) (net.Conn, error) { return o.dial },
		"no connection": func(*origin) func(context.Context, string) (net.Conn, error) {
			return func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		},
		"no cluster": func(*origin) func(context.Context, string) (net.Conn, error) {
			return func(context.Context, string) (net.Conn, error) { return nil, errors.New("unknown cluster") }
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOrigin(t)
			o.hold = make(chan struct{})
			r := newRig(dial(o))
			l := testHTTP(t, r.Streams, named("log"))
			for range 100 {
				l.Log(entryOf("/" + strings.Repeat("x", 10_000)))
			}
			time.Sleep(10 * time.Second)
			began := time.Now()
			r.Close()
			if took := time.Since(began); took > closing {
				t.Errorf("%s: %v", name, took)
			}
			if r.written.Value() != 100 || r.dropped.Value() == 0 {
				t.Errorf("%s: %d written, %d dropped", name, r.written.Value(), r.dropped.Value())
			}
		})
	}
}

func TestAStreamWithoutEntriesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t)
		r := newRig(o.dial)
		defer r.Close()
		l := testHTTP(t, r.Streams, named("log"))
		for range 2 {
			l.Log(entryOf("/"))
			time.Sleep(idle)
			synctest.Wait()
			if running, _ := state(l.stream); !running {
				t.Error("it has ended too early")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if running, _ := state(l.stream); running {
				t.Error("it runs although nothing happens")
			}
		}
		if got := o.got(); got != "log log: / /" {
			t.Errorf("%q", got)
		}
	})
}
