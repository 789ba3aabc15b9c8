package scripts

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/test/kit"
)

// TestStats counts connections and requests by their protocols.
func TestStats(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		client := r.client()
		for range 5 {
			r.wants(r.get(client, kit.Head{}), 200, "a")
		}
		name := map[kit.Proto]string{kit.HTTP1: "http1", kit.HTTP2: "http2"}
		other := map[kit.Proto]string{kit.HTTP1: "http2", kit.HTTP2: "http1"}
		for stat, want := range map[string]int64{
			"http.main.downstream_rq_" + name[p.Down] + "_total":  5,
			"http.main.downstream_rq_" + other[p.Down] + "_total": 0,
			"http.main.downstream_cx_" + name[p.Down] + "_total":  1,
			"http.main.downstream_cx_" + name[p.Down] + "_active": 1,
			"http.main.downstream_cx_" + other[p.Down] + "_total": 0,
			"http.main.downstream_rq_2xx":                         5,
			"http.main.downstream_rq_total":                       5,
			"http.main.downstream_rq_active":                      0,
			"cluster.a.upstream_rq_total":                         5,
			"cluster.a.upstream_rq_200":                           5,
			"cluster.a.upstream_rq_active":                        0,
			"cluster.a.upstream_rq_pending_active":                0,
			"cluster.a.upstream_cx_total":                         1,
			"cluster.a.upstream_cx_" + name[p.Up] + "_total":      1,
			"cluster.a.upstream_cx_" + other[p.Up] + "_total":     0,
			"cluster.a.http2.streams_active":                      0,
			"http2.streams_active":                                0,
			"cluster.a.circuit_breakers.default.rq_open":          0,
			"cluster.a.upstream_rq_completed":                     5,
			"listener_manager.total_listeners_active":             1,
		} {
			r.stat(stat, want)
		}
		if streams, connections, _ := r.a.Began(); streams != 5 || connections != 1 {
			t.Errorf("%d requests on %d connections, want one that is reused", streams, connections)
		}
		r.must(client.Close())
		r.stat("http.main.downstream_cx_"+name[p.Down]+"_active", 0)
	})
}

// TestManyStreamsAtOnce has twice as many exchanges under way as one connection carries, on either side.
func TestManyStreamsAtOnce(t *testing.T) {
	const streams, limit = 200, 100
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Begin(kit.H2Options{Settings: []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: limit}}})
		all := make(chan struct{}) // closed when every request has come
		var came atomic.Int64
		r.a.Handle(func(s kit.Stream) {
			w, err := kit.Read(s)
			if came.Add(1) == streams {
				close(all)
			}
			<-all
			if err == nil {
				_ = kit.Respond(s, 200, w.Path) // the client looks at it
			}
		})
		var running sync.WaitGroup
		defer running.Wait()
		var client kit.Client
		for i := range streams {
			if p.Down == kit.HTTP1 || i%limit == 0 {
				client = r.client()
			}
			s, err := client.Open(kit.Head{Path: fmt.Sprint("/", i)}, true)
			r.must(err)
			running.Go(func() { // ends with its response
				w, err := kit.Read(s)
				if err != nil || w.Status != 200 || string(w.Body) != fmt.Sprint("/", i) || w.Err != nil {
					t.Errorf("stream %d: %+v, %v", i, w, err)
				}
			})
		}
		running.Wait()
		if n, connections, _ := r.a.Began(); n != streams || p.Up == kit.HTTP2 && (connections < streams/limit || connections > 10) {
			t.Errorf("%d requests on %d connections", n, connections)
		}
	})
}

// TestOrder gives every request its own response, whatever the order of the answers.
func TestOrder(t *testing.T) {
	const requests = 10
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		client := r.client()
		var asked []kit.Stream
		if p.Down == kit.HTTP2 {
			r.a.Manual()
		} else {
			r.a.Handle(func(s kit.Stream) {
				if w, err := kit.Read(s); err == nil {
					_ = kit.Respond(s, 200, w.Path)
				}
			})
		}
		for i := range requests {
			s, err := client.Open(kit.Head{Path: fmt.Sprint("/", i)}, true)
			r.must(err)
			asked = append(asked, s)
		}
		if p.Down == kit.HTTP2 {
			var got []kit.Stream
			var paths []string
			for range requests {
				s, h := r.accept(r.a)
				got, paths = append(got, s), append(paths, h.Path)
			}
			for i := requests - 1; i >= 0; i-- {
				r.must(kit.Respond(got[i], 200, paths[i]))
			}
		}
		for i, s := range asked {
			r.wants(r.read(s), 200, fmt.Sprint("/", i))
		}
	})
}

// TestGoAwayOfTheUpstream loses no request, those that the upstream says it has not taken included.
func TestGoAwayOfTheUpstream(t *testing.T) {
	for _, down := range kit.Protos() {
		t.Run(string(down), func(t *testing.T) {
			t.Parallel()
			const clients, requests = 8, 50
			r := newRig(t, kit.Pair{Down: down, Up: kit.HTTP2}, kit.HTTP{})
			var served atomic.Int64
			r.a.Handle(func(s kit.Stream) {
				if served.Add(1)%60 == 0 {
					_ = kit.ConnOf(s).Leave() // perhaps it has already
				}
				if w, err := kit.Read(s); err == nil {
					_ = kit.Respond(s, 200, w.Path)
				}
			})
			var running sync.WaitGroup
			for range clients {
				client := r.client()
				running.Go(func() { // ends with its requests
					for i := range requests {
						if err := ownAnswer(client, fmt.Sprint("/", i)); err != nil {
							t.Errorf("request %d: %v", i, err)
							return
						}
					}
				})
			}
			running.Wait()
			if _, connections, _ := r.a.Began(); connections < 3 {
				t.Errorf("only %d connections", connections)
			}
		})
	}
}

// ownAnswer asks for a path, and wants it back.
func ownAnswer(c kit.Client, path string) error {
	s, err := c.Open(kit.Head{Path: path}, true)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotOpened, err)
	}
	w, err := kit.Read(s)
	if err != nil {
		return err
	}
	if w.Status != 200 || string(w.Body) != path || w.Err != nil {
		return fmt.Errorf("%d %q, %w", w.Status, w.Body, w.Err)
	}
	return nil
}

// errNotOpened says that the connection was gone before a stream could be opened on it.
var errNotOpened = errors.New("no stream")

// TestTermination lets a stream under way come to its end, and tells clients to go.
func TestTermination(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		client := r.client()
		s, err := client.Open(posting("/last"), false)
		r.must(err)
		r.must(s.Send([]byte("question"), false))
		up, _ := r.accept(r.a)
		r.weft.Signal(syscall.SIGTERM)
		if h2, ok := client.(*kit.H2); ok {
			r.must(h2.Wait("GOAWAY", func(s *kit.Seen) bool { return len(s.GoAways) > 0 }))
		} else {
			r.refusesConnections()
		}
		r.must(s.Send([]byte(" and end"), true))
		if b, err := kit.Body(up); err != nil || string(b) != "question and end" {
			t.Fatalf("%q, %v", b, err)
		}
		r.must(kit.Respond(up, 200, "answer"))
		r.wants(r.read(s), 200, "answer")
		if h2, ok := client.(*kit.H2); ok {
			r.must(h2.Wait("the end", func(s *kit.Seen) bool { return s.End != nil }))
			r.must(h2.Wait("no error", func(s *kit.Seen) bool { return s.GoAways[len(s.GoAways)-1].Code == http2.ErrCodeNo }))
		}
		r.must(r.weft.Wait())
	})
}

// refusesConnections waits until the admin page says that the process drains.
func (r *rig) refusesConnections() {
	r.t.Helper()
	r.stat("server.state", 1)
}

// reloads is how often TestListenerDrains replaces the listener.
const reloads = 5

// TestListenerDrains replaces the listener under load. Clients that are told to go connect again; no request is lost.
func TestListenerDrains(t *testing.T) {
	const clients = 4
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		manager := func(generation int) kit.HTTP {
			// Over HTTP/2 a client has so long from when it is told to go until it has to be gone, however busy the machine is.
			return kit.HTTP{Manager: fmt.Sprintf("server_name: weft%d\ndrain_timeout: 2s", generation)}
		}
		r := newRig(t, p, manager(0))
		r.a.Handle(func(s kit.Stream) {
			if w, err := kit.Read(s); err == nil {
				_ = kit.Respond(s, 200, w.Path)
			}
		})
		stop := make(chan struct{})
		var running sync.WaitGroup
		var done atomic.Int64
		for range clients {
			c := &wanderer{r: r, client: r.client()}
			running.Go(func() { // ends with stop
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					if err := c.ask(fmt.Sprint("/", i)); err != nil {
						t.Errorf("request %d: %v", i, err)
						return
					}
					done.Add(1)
				}
			})
		}
		for generation := 1; generation <= reloads; generation++ {
			r.must(r.weft.Reload(r.config(manager(generation))))
			for before := done.Load(); done.Load() < before+20 && !t.Failed(); {
				if err := ownAnswer(r.client(), "/between"); err != nil {
					t.Errorf("a new connection: %v", err)
				}
			}
		}
		close(stop)
		running.Wait()
		t.Logf("%d requests", done.Load())
	})
}

// A wanderer is a client that connects anew when it is told that its connection ends. Over HTTP/1 the server may close an idle
// connection while a request is on its way to it: what any client asks again.
type wanderer struct {
	r      *rig
	client kit.Client
}

// ask asks until there is an answer. Every reload may meet a connection that is new, or whose request is on its way.
func (c *wanderer) ask(path string) error {
	var err error
	for range reloads + 1 {
		h2, multiplexed := c.client.(*kit.H2)
		if c.client == nil || multiplexed && h2.Leaving() {
			if c.client, err = c.r.lab.Connect(c.r.pair.Down); err != nil {
				c.client = nil
				if closed(err) {
					continue
				}
				return err
			}
			h2, multiplexed = c.client.(*kit.H2)
		}
		err = ownAnswer(c.client, path)
		again := closed(err)
		if multiplexed {
			again = h2.TurnedAway() || h2.Leaving() && errors.Is(err, errNotOpened)
		}
		if err == nil || !again {
			return err
		}
		c.client = nil
	}
	return err
}

// closed reports whether the peer closed the connection before a byte of its answer.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
