package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/transport/tcp"
)

const name = "listener.127.0.0.1_1000."

func TestServesMatchesAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		l := b.start(listen("127.0.0.1", 1000, chains(`{"name": "n", "filters": [`+wrapper+`, `+handler("echo")+`]}`)))
		nc := b.dial(l)
		if got := say(t, nc, "hello"); got != "wrapp" {
			t.Errorf("got %q", got)
		}
		if got := hear(t, nc, 8); got != "ed hello" {
			t.Errorf("got %q", got)
		}
		if n := b.value(name + "downstream_cx_active"); n != 1 || l.Connections() != 1 {
			t.Errorf("%d active, %d connections", n, l.Connections())
		}
		_ = nc.Close()
		synctest.Wait()
		if b.value(name+"downstream_cx_active") != 0 || b.value(name+"downstream_cx_destroy") != 1 || b.value(name+"downstream_cx_total") != 1 || l.Connections() != 0 {
			t.Error("the account is not closed")
		}
		if n := b.env.Options.Connections.Active(); n != 0 {
			t.Errorf("%d connections of the process left", n)
		}
	})
}

func TestNoFilterChainMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		l := b.start(listen("127.0.0.1", 1000, chains(chain("echo", `"destinationPort": 1`))))
		isClosed(t, b.dial(l))
		if b.value(name+"no_filter_chain_match") != 1 || b.value(name+"downstream_cx_total") != 0 {
			t.Error("counted wrongly")
		}
	})
}

func TestChainWithoutFiltersCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		isClosed(t, b.dial(b.start(listen("127.0.0.1", 1000, chains(`{}`)))))
	})
}

func TestListenerFilters(t *testing.T) {
	for _, tt := range []struct {
		name    string
		inspect inspectFunc
		more    string
		act     func(t *testing.T, nc net.Conn)
		counter string
	}{
		{"consumes", func(_ context.Context, c *conn.Conn) error {
			if _, err := c.Peek(3); err != nil {
				return err
			}
			c.Discard(3)
			return nil
		}, `"continueOnListenerFiltersTimeout": false`, func(t *testing.T, nc net.Conn) {
			if _, err := nc.Write([]byte("abchello")); err != nil {
				t.Fatal(err)
			}
			if got := hear(t, nc, 5); got != "hello" {
				t.Errorf("got %q", got)
			}
		}, "downstream_cx_total"},
		{"times out", func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(3); return err }, `"listenerFiltersTimeout": "3s"`, func(t *testing.T, nc net.Conn) {
			began := time.Now()
			isClosed(t, nc)
			if d := time.Since(began); d != 3*time.Second {
				t.Errorf("after %v", d)
			}
		}, "downstream_pre_cx_timeout"},
		{"times out after 15 s", func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(3); return err }, `"statPrefix": ""`, func(t *testing.T, nc net.Conn) {
			_ = nc.SetDeadline(time.Now().Add(time.Minute))
			began := time.Now()
			isClosed(t, nc)
			if d := time.Since(began); d != 15*time.Second {
				t.Errorf("after %v", d)
			}
		}, "downstream_pre_cx_timeout"},
		{"goes on after the timeout", func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(3); return err }, `"continueOnListenerFiltersTimeout": true, "listenerFiltersTimeout": "3s"`, func(t *testing.T, nc net.Conn) {
			if got := say(t, nc, "hi"); got != "hi" {
				t.Errorf("got %q", got)
			}
		}, "downstream_pre_cx_timeout"},
		{"peer goes away", func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(3); return err }, `"statPrefix": ""`, func(t *testing.T, nc net.Conn) {
			_ = nc.Close()
			synctest.Wait()
		}, "downstream_listener_filter_remote_close"},
		{"refuses", func(context.Context, *conn.Conn) error { return errors.New("no") }, `"statPrefix": ""`, func(t *testing.T, nc net.Conn) { isClosed(t, nc) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, memory.New())
				b.inspect = tt.inspect
				l := b.start(listen("127.0.0.1", 1000, chains(chain("echo", "")), inspect, tt.more))
				tt.act(t, b.dial(l))
				synctest.Wait()
				if tt.counter != "" && b.value(name+tt.counter) != 1 {
					t.Errorf("%s is %d", tt.counter, b.value(name+tt.counter))
				}
				if n := b.value(name + "downstream_pre_cx_active"); n != 0 {
					t.Errorf("downstream_pre_cx_active is %d", n)
				}
			})
		})
	}
}

func TestConnectionLimits(t *testing.T) {
	for key, counter := range map[string]string{
		"envoy.resource_limits.listener.l.connection_limit": "downstream_cx_overflow",
		"overload.global_downstream_max_connections":        "downstream_global_cx_overflow",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, memory.New())
			b.env.Options.Runtime.Set(map[string]string{key: "2"})
			l := b.start(listen("127.0.0.1", 1000, chains(chain("echo", ""))))
			one, two := b.dial(l), b.dial(l)
			say(t, one, "1")
			say(t, two, "2")
			isClosed(t, b.dial(l))
			if n := b.value(name + counter); n != 1 {
				t.Errorf("%s is %d", counter, n)
			}
			_ = one.Close()
			synctest.Wait()
			say(t, b.dial(l), "3")
		})
	}
}

func TestGlobalLimitCanBeIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.env.Options.Runtime.Set(map[string]string{"overload.global_downstream_max_connections": "0"})
		say(t, b.dial(b.start(listen("127.0.0.1", 1000, `"ignoreGlobalConnLimit": true`, chains(chain("echo", ""))))), "1")
	})
}

func TestPanicClosesOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.handlers["panic"] = func(_ context.Context, c *conn.Conn) error {
			if err := c.Fill(); err != nil {
				return err
			}
			panic("oh")
		}
		l := b.start(listen("127.0.0.1", 1000, chains(chain("panic", ""))))
		one, two := b.dial(l), b.dial(l)
		if _, err := one.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		isClosed(t, one)
		synctest.Wait()
		if n := b.value(name + "downstream_cx_panic"); n != 1 || l.Connections() != 1 {
			t.Errorf("%d panics, %d connections", n, l.Connections())
		}
		_ = two.Close()
	})
}

func TestDrainWaitsForConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		busy := make(chan struct{})
		b.handlers["busy"] = func(_ context.Context, c *conn.Conn) error {
			<-busy
			_, err := c.Write([]byte("done"))
			return err
		}
		l := b.start(listen("127.0.0.1", 1000, chains(chain("busy", `"sourceType": "EXTERNAL"`), chain("echo", `"sourceType": "SAME_IP_OR_LOOPBACK"`))))
		b2 := b.dial(l)
		say(t, b2, "idle")
		other := New(b.compile(listen("127.0.0.1", 1001, chains(chain("busy", ""))), nil), b.env)
		if err := other.Bind(t.Context()); err != nil {
			t.Fatal(err)
		}
		other.Serve()
		nc := b.dial(other)
		synctest.Wait()
		l.Drain(t.Context())
		isClosed(t, b2)

		var wg sync.WaitGroup
		began := time.Now()
		for range 2 { // both are told when the last is gone
			wg.Go(func() { other.Drain(t.Context()) })
		}
		time.AfterFunc(7*time.Second, func() { close(busy) })
		wg.Wait()
		if d := time.Since(began); d != 7*time.Second {
			t.Errorf("drained after %v", d)
		}
		hear(t, nc, 4)
		other.Close()
	})
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.handlers["deaf"] = func(_ context.Context, c *conn.Conn) error { return c.Fill() }
		l := b.start(listen("127.0.0.1", 1000, chains(chain("deaf", ""))))
		nc := b.dial(l)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.Drain(ctx)
		if l.Connections() != 1 {
			t.Fatal("the connection is gone")
		}
		l.Close()
		isClosed(t, nc)
		if l.Connections() != 0 {
			t.Error("Close left a connection")
		}
	})
}

func TestUpdateKeepsConnectionsOfUnchangedChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.handlers["deaf"] = func(_ context.Context, c *conn.Conn) error { // does not react to draining
			for {
				if err := c.Fill(); err != nil {
					return err
				}
				if _, err := c.Write(c.Buffered()); err != nil {
					return err
				}
				c.Discard(len(c.Buffered()))
			}
		}
		b.handlers["new"] = echo
		b.env.Options.DrainTime = 30 * time.Second
		port := func(p int, handler string) string { return chain(handler, fmt.Sprintf(`"destinationPort": %d`, p)) }
		more := func(p int) string {
			return fmt.Sprintf(`{"address": {"socketAddress": {"address": "127.0.0.1", "portValue": %d}}}`, p)
		}
		extra := `"additionalAddresses": [` + more(1001) + ", " + more(1002) + `]`
		first := listen("127.0.0.1", 1000, extra, chains(port(1000, "echo"), port(1001, "deaf"), chain("new", "")))
		l := b.start(first)
		dial := func(i int) net.Conn {
			nc, err := net.Conn(nil), error(nil)
			if nc, err = b.env.Network.Dial(t.Context(), dialOptions(l.Addresses()[i])); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			_ = nc.SetDeadline(time.Now().Add(time.Hour))
			return nc
		}
		kept, deaf, polite := dial(0), dial(1), dial(2)
		for _, nc := range []net.Conn{kept, deaf, polite} {
			say(t, nc, "before")
		}
		synctest.Wait() // the exchanges are over for the handlers, too
		l.Update(b.compile(listen("127.0.0.1", 1000, extra, chains(port(1000, "echo"), chain("new", `"destinationPort": 1001`))), l.Config()))
		say(t, polite, "the last exchange")
		isClosed(t, polite)
		say(t, kept, "after")
		say(t, deaf, "still here")
		say(t, dial(1), "new")
		isClosed(t, dial(2))
		time.Sleep(29 * time.Second)
		say(t, deaf, "one second left")
		time.Sleep(2 * time.Second)
		isClosed(t, deaf)
		say(t, kept, "for ever")
		if n := b.value(name + "downstream_cx_drain_close"); n != 1 {
			t.Errorf("%d closed after the drain time", n)
		}
	})
}

// idler serves a connection as a codec does that is told of a drain by Drain and Leaving, and undoes wakes that it does not know.
func idler(_ context.Context, c *conn.Conn) error {
	for c.SetIdle(true) {
		switch err := c.Fill(); {
		case err == nil:
			c.SetIdle(false)
			if _, err := c.Write(c.Buffered()); err != nil {
				return err
			}
			c.Discard(len(c.Buffered()))
		case c.Woken() == nil:
			return err
		default:
			c.Revive()
		}
	}
	return conn.ErrDraining
}

func TestRetirementEndsIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.handlers["idle"] = idler
		b.env.Options.DrainTime = 30 * time.Second
		l := b.start(listen("127.0.0.1", 1000, chains(chain("idle", ""))))
		nc := b.dial(l)
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		say(t, nc, "before")
		l.Update(b.compile(listen("127.0.0.1", 1000, chains(chain("echo", ""))), l.Config()))
		time.Sleep(29 * time.Second)
		say(t, nc, "one second left")
		time.Sleep(2 * time.Second)
		isClosed(t, nc)
	})
}

func TestCloseStopsTheRetirement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.handlers["a"] = echo
		l := b.start(listen("127.0.0.1", 1000, chains(chain("echo", ""))))
		l.Update(b.compile(listen("127.0.0.1", 1000, chains(chain("a", ""))), l.Config()))
		l.Close() // synctest would find the timer's goroutine
	})
}

func TestCloseIsSeenByHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		why := make(chan error, 1)
		b.handlers["ctx"] = func(ctx context.Context, _ *conn.Conn) error {
			<-ctx.Done()
			why <- context.Cause(ctx)
			return nil
		}
		l := b.start(listen("127.0.0.1", 1000, chains(chain("ctx", ""))))
		b.dial(l)
		synctest.Wait()
		l.Close()
		if err := <-why; !errors.Is(err, ErrClosed) {
			t.Errorf("cause %v", err)
		}
	})
}

// failing is a listener whose Accept fails a few times.
type failing struct {
	net.Listener
	left int
	at   []time.Time
}

func (f *failing) Accept() (net.Conn, error) {
	f.at = append(f.at, time.Now())
	if f.left--; f.left >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return f.Listener.Accept()
}

func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		l := New(b.compile(listen("127.0.0.1", 1000, chains(chain("echo", ""))), nil), b.env)
		if err := l.Bind(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := &failing{Listener: l.sockets[0].Listener, left: 12}
		l.sockets[0].Listener = f
		began := time.Now()
		l.Serve()
		say(t, b.dial(l), "at last")
		if n := b.value(name + "downstream_accept_error"); n != 12 {
			t.Errorf("%d errors counted", n)
		}
		l.Close() // from here on nobody touches f
		// 5, 10, 20 ... 640 ms, then a second each
		if d := f.at[12].Sub(began); d != 1275*time.Millisecond+4*time.Second {
			t.Errorf("tried for %v", d)
		}
	})
}

func TestBindNamesListenerAndAddress(t *testing.T) {
	b := newBench(t, tcp.New())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	err = New(b.compile(listen("127.0.0.1", port, chains(chain("echo", ""))), nil), b.env).Bind(t.Context())
	if err == nil || !strings.Contains(err.Error(), `listener "l": `) || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d", port)) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}

func TestSockets(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		network    string
	}{
		{"reuse port", listen("127.0.0.1", 0, `"enableReusePort": true, "tcpBacklogSize": 10`, chains(chain("echo", ""))), "tcp"},
		{"dual stack", `{"name": "l", "address": {"socketAddress": {"address": "::", "portValue": 0, "ipv4Compat": true}}, ` + chains(chain("echo", "")) + `}`, "tcp"},
		{"options", listen("127.0.0.1", 0, `"freebind": true, "tcpFastOpenQueueLength": 5, "tcpKeepalive": {"keepaliveTime": 60}, "socketOptions": [{"level": 1, "name": 9, "intValue": 1}, {"level": 1, "name": 8, "intValue": 100000, "state": "STATE_LISTENING"}]`, chains(chain("echo", ""))), "tcp"},
		{"unix", `{"name": "l", "address": {"pipe": {"path": "` + filepath.Join(dir, "s") + `", "mode": 384}}, ` + chains(chain("echo", "")) + `}`, "unix"},
		{"abstract", `{"name": "l", "address": {"pipe": {"path": "@weft-test-` + filepath.Base(dir) + `"}}, ` + chains(chain("echo", "")) + `}`, "unix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tcp.New())
			b.env.Options.Concurrency = 3
			l := b.start(tt.text)
			if tt.name == "reuse port" && (len(l.sockets) != 3 || len(l.Addresses()) != 1) {
				t.Errorf("%d sockets, addresses %v", len(l.sockets), l.Addresses())
			}
			for range 10 {
				at := strings.Replace(l.Addresses()[0], "[::]", "127.0.0.1", 1)
				nc, err := net.Dial(tt.network, at)
				if err != nil {
					t.Fatal(err)
				}
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				say(t, nc, "hello")
				_ = nc.Close()
			}
		})
	}
}

func TestSocketOptionThatFails(t *testing.T) {
	b := newBench(t, tcp.New())
	l := New(b.compile(listen("127.0.0.1", 0, `"socketOptions": [{"level": 6, "name": 9999, "intValue": 1}]`, chains(chain("echo", ""))), nil), b.env)
	if err := l.Bind(t.Context()); err == nil || !strings.Contains(err.Error(), "socket option level 6 name 9999") {
		t.Errorf("error %v", err)
	}
}

func TestWithoutBinding(t *testing.T) {
	b := newBench(t, tcp.New())
	l := b.start(listen("127.0.0.1", 0, `"bindToPort": false`, chains(chain("echo", ""))))
	if len(l.Addresses()) != 0 {
		t.Errorf("bound to %v", l.Addresses())
	}
}

func TestStopKeepsConnections(t *testing.T) {
	b := newBench(t, tcp.New())
	l := b.start(listen("127.0.0.1", 0, chains(chain("echo", ""))))
	nc, at := b.dial(l), l.Addresses()[0]
	say(t, nc, "before")
	l.Stop()
	if c, err := net.DialTimeout("tcp", at, time.Second); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
	say(t, nc, "after")
}

func TestHandlerGetsWhatInspectorsLeft(t *testing.T) {
	b := newBench(t, tcp.New())
	b.inspect = func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(5); return err }
	b.handlers["all"] = func(_ context.Context, c *conn.Conn) error {
		text, err := io.ReadAll(c)
		if err != nil {
			return err
		}
		_, err = c.Write(text)
		return err
	}
	l := b.start(listen("127.0.0.1", 0, chains(chain("all", "")), inspect))
	nc := b.dial(l)
	if _, err := nc.Write([]byte("hello world")); err != nil {
		t.Fatal(err)
	}
	_ = nc.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(nc); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
}
