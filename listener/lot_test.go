package listener

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/transport/tcp"
)

func (b *bench) parked(l *Listener, n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d parked", n), func() bool { return l.Parked() == n })
}

func TestParkedConnectionsAreServedWhenReadable(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	l := b.start(listen("127.0.0.1", 0, `"statPrefix": "p"`, chains(chain("p", ""))))
	var all []net.Conn
	for range 50 {
		all = append(all, b.dial(l))
	}
	for round := range 20 {
		b.parked(l, len(all))
		for i, nc := range all {
			if text := fmt.Sprintf("round %d, %d", round, i); say(t, nc, text) != text {
				t.Fatal("mixed up")
			}
		}
	}
	b.parked(l, len(all))
	if n := b.value("listener.p.downstream_cx_parked"); n != 50 {
		t.Errorf("downstream_cx_parked is %d", n)
	}
	for _, nc := range all[:25] {
		_ = nc.Close()
	}
	eventually(t, "the closed ones are gone", func() bool { return l.Connections() == 25 })
	b.parked(l, 25)
}

func TestParkedConnectionsEndWithADrain(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	l := b.start(listen("127.0.0.1", 0, chains(chain("p", ""))))
	nc := b.dial(l)
	b.parked(l, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l.Drain(ctx)
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestParkedConnectionsEndWithClose(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	l := b.start(listen("127.0.0.1", 0, chains(chain("p", ""))))
	nc := b.dial(l)
	b.parked(l, 1)
	l.Close()
	isClosed(t, nc)
}

func TestParkedConnectionsSurviveAnUpdate(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["p"], b.handlers["q"] = parking, parking
	l := b.start(listen("127.0.0.1", 0, chains(chain("p", ""), chain("q", `"sourceType": "EXTERNAL"`))))
	nc := b.dial(l)
	b.parked(l, 1)
	l.Update(b.compile(listen("127.0.0.1", 0, chains(chain("p", ""))), l.Config()))
	say(t, nc, "hello")
	b.parked(l, 1)
	l.Update(b.compile(listen("127.0.0.1", 0, chains(chain("q", ""))), l.Config()))
	say(t, nc, "the last exchange")
	isClosed(t, nc)
}

func TestBytesThatArriveWhileParkingAreNotLost(t *testing.T) {
	b := newBench(t, tcp.New())
	var rounds atomic.Int64
	b.handlers["slow"] = func(_ context.Context, c *conn.Conn) error {
		err := parking(context.Background(), c)
		if err == conn.ErrParked && rounds.Add(1)%2 == 0 {
			runtime.Gosched() // let the peer write between the last look and the lot
		}
		return err
	}
	l := b.start(listen("127.0.0.1", 0, chains(chain("slow", ""))))
	nc := b.dial(l)
	for i := range 2000 {
		say(t, nc, strconv.Itoa(i))
	}
}

func TestWakeAtResumes(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["once"] = func(_ context.Context, c *conn.Conn) error {
		if c.WakeAt == 0 {
			c.WakeAt = scope.Now() + int64(20*time.Millisecond)
			return conn.ErrParked
		}
		if scope.Now() < c.WakeAt {
			return fmt.Errorf("too early")
		}
		_, err := c.Write([]byte("idle timeout"))
		return err
	}
	l := b.start(listen("127.0.0.1", 0, chains(chain("once", ""))))
	nc := b.dial(l)
	if got := hear(t, nc, 12); got != "idle timeout" {
		t.Errorf("got %q", got)
	}
}

func TestConnectionsThatCannotBeParkedWait(t *testing.T) {
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	l := b.start(listen("127.0.0.1", 0, chains(chain("p", ""))))
	l.lot.mu.Lock()
	l.lot.closed = true
	l.lot.mu.Unlock()
	nc := b.dial(l)
	say(t, nc, "hello")
	if l.Parked() != 0 {
		t.Error("parked")
	}
	l.lot.mu.Lock()
	l.lot.closed = false
	l.lot.mu.Unlock()
}

// TestParkedConnectionCostsLittle measures what an idle connection holds in this process. Its other ends are bare descriptors, which cost
// the process nothing.
func TestParkedConnectionCostsLittle(t *testing.T) {
	const n = 4000
	if testing.Short() || race.Enabled {
		t.Skip("opens many connections, which the race detector makes larger")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*n+100 {
		t.Skipf("only %d descriptors", limit.Cur)
	}
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	l := b.start(listen("127.0.0.1", 0, chains(chain("p", ""))))
	to := l.sockets[0].Addr().(*net.TCPAddr)
	say(t, b.dial(l), "warm")
	b.parked(l, 1)
	debug.FreeOSMemory()
	before := rss(t)
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	b.parked(l, n+1)
	debug.FreeOSMemory()
	each := (rss(t) - before) / n
	t.Logf("%d bytes of RSS for each of %d parked connections; %d goroutines", each, n, runtime.NumGoroutine())
	if each > 4096 {
		t.Errorf("an idle connection costs %d bytes", each)
	}
	if g := runtime.NumGoroutine(); g > 100 {
		t.Errorf("%d goroutines", g)
	}
}

func rss(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
