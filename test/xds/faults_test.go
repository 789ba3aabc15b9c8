package xds

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/test/kit"
	"github.com/weftproxy/weft/transport"
)

// working returns a bubble in which a listener, its routes, a cluster and its endpoints have come from the control plane.
func working(t *testing.T, delta bool) *bubble {
	b := newBubble(t, delta)
	b.origins()
	b.plane.Update(func(e *kit.Edit) { b.version(e, 1) })
	b.run(nil)
	b.expectGet("at the beginning", "/", "200 1")
	return b
}

// version sets what working has, to another version.
func (b *bubble) version(e *kit.Edit, n int) {
	b.front(e, "r")
	e.Set("r", kit.Routes("r", "/direct", "="+strconv.Itoa(n), "/", "c"))
	e.Set("c", kit.EDSCluster("c"))
	e.Set("c", kit.Assignment("c", originOf(n)))
}

// A fault is a control plane that does something wrong; it is served where the good one was.
type fault struct {
	raw  func(c net.Conn)                                   // with a connection that speaks anything; or
	grpc func(w http.ResponseWriter, r *http.Request) error // with a stream
	want string                                             // in the log and on /xds; "": nothing is known of it
}

// message begins a message of gRPC that claims a size.
func message(w io.Writer, size int, body []byte) error {
	head := make([]byte, 5)
	binary.BigEndian.PutUint32(head[1:], uint32(size))
	_, err := w.Write(append(head, body...))
	return err
}

// hang waits until the client gives up.
func hang(r *http.Request) error {
	<-r.Context().Done()
	return nil
}

func faults() map[string]fault {
	return map[string]fault{
		"garbage": {want: "LAST ERROR", raw: func(c net.Conn) {
			for range 100 {
				if _, err := c.Write([]byte("\x00\xff this is no HTTP/2 \x17\x03\x03")); err != nil {
					return
				}
			}
		}},
		"HTTP/1.1":       {want: "LAST ERROR", raw: func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n") }},
		"nothing at all": {want: "LAST ERROR", raw: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		"closes at once": {want: "LAST ERROR", raw: func(net.Conn) {}},
		"no answer":      {grpc: func(_ http.ResponseWriter, r *http.Request) error { return hang(r) }},
		"half a message": {grpc: func(w http.ResponseWriter, r *http.Request) error {
			if err := message(w, 1000, []byte("half")); err != nil {
				return err
			}
			w.(http.Flusher).Flush()
			return hang(r)
		}},
		"half a head": {grpc: func(w http.ResponseWriter, r *http.Request) error {
			_, err := w.Write([]byte{0, 0})
			w.(http.Flusher).Flush()
			_ = hang(r)
			return err
		}},
		"half a message and the end": {want: "LAST ERROR", grpc: func(w http.ResponseWriter, _ *http.Request) error { return message(w, 1000, []byte("half")) }},
		"a message that is none":     {want: "LAST ERROR", grpc: func(w http.ResponseWriter, _ *http.Request) error { return message(w, 4, []byte("\xff\xff\xff\xff")) }},
		"a message that claims 1 GB": {want: "larger than max", grpc: func(w http.ResponseWriter, r *http.Request) error {
			if err := message(w, 1<<30, nil); err != nil {
				return err
			}
			w.(http.Flusher).Flush()
			return hang(r)
		}},
		"an error": {want: "not today", grpc: func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Trailer:Grpc-Status", "14")
			w.Header().Set("Trailer:Grpc-Message", "not today")
			return nil
		}},
		"an answer about nothing known": {grpc: func(w http.ResponseWriter, r *http.Request) error {
			body, err := proto.Marshal(&discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/nobody.Knows", VersionInfo: "1", Nonce: "1"})
			if err != nil {
				return err
			}
			if err := message(w, len(body), body); err != nil {
				return err
			}
			w.(http.Flusher).Flush()
			return hang(r)
		}},
	}
}

// serve serves a fault where the control plane was, until stop.
func (b *bubble) serve(f fault) (stop func()) {
	b.t.Helper()
	ln, done := b.listen(planeAddress), make(chan struct{})
	if f.raw != nil {
		go func() { // ends with Close
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				f.raw(c)
				_ = c.Close()
			}
		}()
		return func() { _ = ln.Close(); <-done }
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_ = f.grpc(w, r) // the client has gone
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { // ends with Close
		defer close(done)
		_ = s.Serve(ln)
	}()
	return func() { _ = s.Close(); <-done }
}

// Whatever a control plane does in place of answering, traffic goes on as before, and once it is in order again, it is heard.
func TestControlPlanesThatAreBroken(t *testing.T) {
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, delta bool) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := working(t, delta)
					stopTraffic := b.traffic("/")
					b.plane.Stop()
					stop := b.serve(f)
					b.pass(2 * time.Minute)
					b.expectGet("while it is broken", "/direct", "200 1")
					page := b.adminPage("/xds")
					if f.want == "" && !strings.Contains(page, "connected") || f.want != "" && !strings.Contains(strings.ToUpper(page), strings.ToUpper(f.want)) {
						t.Errorf("/xds does not say %q: %s", f.want, page)
					}
					if !strings.Contains(b.log.String(), "the stream to a control plane has ended") {
						t.Error("the log says nothing")
					}
					stop()
					b.plane.Update(func(e *kit.Edit) { b.version(e, 2) })
					b.plane.Serve(b.listen(planeAddress))
					b.pass(time.Minute)
					b.expectGet("in order again", "/direct", "200 2")
					b.expectGet("in order again", "/", "200 2")
					stopTraffic()
				})
			})
		})
	}
}

// A line leads to the control plane until it goes dead: then nothing passes, and nobody is told.
type line struct {
	b    *bubble
	ln   net.Listener
	all  sync.WaitGroup
	mu   sync.Mutex
	dead chan struct{} // closed once the connections of now are; guarded by mu
	end  chan struct{}
}

func (b *bubble) newLine(from, to string) *line {
	b.t.Helper()
	l := &line{b: b, ln: b.listen(from), dead: make(chan struct{}), end: make(chan struct{})}
	l.all.Go(func() { // ends with close
		for {
			c, err := l.ln.Accept()
			if err != nil {
				return
			}
			there, err := b.network.Dial(b.t.Context(), transport.DialOptions{Network: "tcp", Address: to})
			if err != nil {
				_ = c.Close()
				continue
			}
			l.mu.Lock()
			dead := l.dead
			l.mu.Unlock()
			l.all.Go(func() { l.pass(there, c, dead) })
			l.all.Go(func() { l.pass(c, there, dead) })
		}
	})
	b.t.Cleanup(func() {
		_ = l.ln.Close()
		close(l.end)
		l.all.Wait()
	})
	return l
}

// pass hands on what comes.
func (l *line) pass(to, from net.Conn, dead chan struct{}) {
	stop := func() { _ = to.Close(); _ = from.Close() }
	l.all.Go(func() {
		<-l.end
		stop()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-dead:
			return
		default:
		}
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			stop()
			return
		}
	}
}

// die makes the connections of now dead.
func (l *line) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.dead)
	l.dead = make(chan struct{})
}

// A connection to a control plane that is dead without anybody saying so is noticed, and replaced.
func TestAConnectionThatIsDead(t *testing.T) {
	bubbles(t, func(b *bubble) {
		const line = "127.0.0.1:18001"
		b.origins()
		b.plane.Update(func(e *kit.Edit) { b.version(e, 1) })
		l := b.newLine(line, planeAddress)
		b.run(func(boot *bootstrapv3.Bootstrap) {
			boot.StaticResources.Clusters[0].LoadAssignment = kit.Assignment("xds", line)
		})
		stop := b.traffic("/")
		l.die()
		b.send(func(e *kit.Edit) { b.version(e, 2) })
		b.expectGet("dead", "/direct", "200 1")
		b.pass(6 * time.Minute)
		b.expectGet("replaced", "/direct", "200 2")
		b.expectGet("replaced", "/", "200 2")
		stop()
	})
}

// A control plane that comes back with nothing to say leaves everything as it was; what it says is what counts, even if it is older.
func TestControlPlanesThatComeBack(t *testing.T) {
	bubbles(t, func(b *bubble) {
		b.origins()
		b.plane.Update(func(e *kit.Edit) { b.version(e, 3) })
		b.run(nil)
		stop := b.traffic("/")
		b.plane.Update(func(e *kit.Edit) {
			for _, url := range []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL} {
				e.Withhold(url)
			}
		})
		b.restart()
		b.pass(10 * time.Minute)
		b.expectGet("with nothing to say", "/direct", "200 3")
		if got := b.warming(); got != "0 0" {
			b.t.Errorf("%s warm", got)
		}
		b.plane.Stop()
		b.plane.Update(func(e *kit.Edit) {
			b.version(e, 1)
			for _, url := range []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL} {
				e.Deliver(url)
				e.As(url, "1", "")
			}
		})
		b.plane.Serve(b.listen(planeAddress))
		b.pass(time.Minute)
		b.expectGet("with an older version", "/direct", "200 1")
		b.expectGet("with an older version", "/", "200 1")
		stop()
	})
}

// Resources that come and go, and refer to one another while they are not there, leave nothing behind and disturb nobody.
func TestResourcesThatFlap(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { // not parallel: goroutines of all tests are counted
		synctest.Test(t, func(t *testing.T) { flap(working(t, delta)) })
	})
}

func flap(b *bubble) {
	stop := b.traffic("/")
	before := 0
	for i := range 60 {
		b.send(func(e *kit.Edit) {
			if i%2 == 0 {
				e.Set("flap", kit.EDSCluster("flap"))
				e.Set("flap", kit.Assignment("flap", originOf(1+i%4)))
				e.Set("flap", kit.HTTPListener("flap", addressOf("b"), "flap"))
				e.Set("flap", kit.Routes("flap", "/", "nobody", "/flap", "flap"))
				return
			}
			for _, url := range []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL} {
				e.Remove(url, "flap")
			}
		})
		if i == 9 {
			before = b.goroutines()
		}
	}
	if after := b.goroutines(); after > before+10 {
		b.t.Errorf("%d goroutines after 10 changes, %d after 60", before, after)
	}
	if got := b.warming(); got != "0 0" {
		b.t.Errorf("%s warm", got)
	}
	stop()
	if page := b.adminPage("/clusters"); strings.Contains(page, "flap::") {
		b.t.Errorf("left: %s", page)
	}
}

// goroutines counts them once what is ending has ended.
func (b *bubble) goroutines() int {
	b.pass(30 * time.Second) // drain times
	return runtime.NumGoroutine()
}

// A response of 100 MB is answered like any other, and is gone then.
func TestAResponseOf100MB(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		synctest.Test(t, func(t *testing.T) {
			b := working(t, delta)
			stop := b.traffic("/")
			before := heap()
			body := make([]byte, 100<<20)
			b.send(func(e *kit.Edit) {
				e.SetAny(kit.ClusterURL, "huge", &anypb.Any{TypeUrl: "type.googleapis.com/nobody.Knows", Value: body})
				e.Set("c", kit.StaticCluster("c", originOf(2)))
			})
			b.pass(time.Minute)
			if why := b.answer(kit.ClusterURL); !strings.Contains(why, "nobody.Knows") {
				t.Errorf("the answer is %q", why)
			}
			b.expectGet("the good one beside it", "/", "200 2")
			b.send(func(e *kit.Edit) { e.Remove(kit.ClusterURL, "huge") })
			stop()
			if after := heap(); after > before+40<<20 {
				t.Errorf("%d MB are held, %d MB before", after>>20, before>>20)
			}
			runtime.KeepAlive(b)
		})
	})
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
