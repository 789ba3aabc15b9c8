package connectionlimit

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

type handlerFunc func(ctx context.Context, c *conn.Conn) error

func (f handlerFunc) ServeConn(ctx context.Context, c *conn.Conn) error { return f(ctx, c) }

func compile(t *testing.T, cfg string, next handlerFunc) (*Filter, *stats.Store) {
	t.Helper()
	var m limitv3.ConnectionLimit
	if err := protojson.Unmarshal([]byte(`{"statPrefix": "p", "maxConnections": "1"`+cfg+`}`), &m); err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore(stats.Options{})
	return New(&extension.Env{Stats: store}, &m, next), store
}

func pipe() *conn.Conn {
	a, _ := net.Pipe()
	return conn.New(a)
}

func TestLimits(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		f, store := compile(t, `, "delay": "3s"`, func(context.Context, *conn.Conn) error {
			<-leave
			return nil
		})
		done := make(chan error)
		go func() { done <- f.ServeConn(t.Context(), pipe()) }() // ends with leave
		synctest.Wait()
		began := time.Now()
		if err := f.ServeConn(t.Context(), pipe()); !errors.Is(err, ErrLimited) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.ServeConn(ctx, pipe()); !errors.Is(err, ErrLimited) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		for name, want := range map[string]int64{"limited_connections": 2, "active_connections": 1} {
			if n, _ := store.Value("connection_limit.p." + name); n != want {
				t.Errorf("%s is %d, want %d", name, n, want)
			}
		}
		close(leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := f.ServeConn(t.Context(), pipe()); err != nil {
			t.Errorf("when the other one is gone: %v", err)
		}
	})
}

func TestParkedConnectionsCount(t *testing.T) {
	end := conn.ErrParked
	f, store := compile(t, "", func(context.Context, *conn.Conn) error { return end })
	c := pipe()
	for range 3 {
		if err := f.ServeConn(t.Context(), c); !errors.Is(err, conn.ErrParked) {
			t.Fatal(err)
		}
	}
	if err := f.ServeConn(t.Context(), pipe()); !errors.Is(err, ErrLimited) {
		t.Errorf("a parked connection does not count: %v", err)
	}
	end = nil
	if err := f.ServeConn(t.Context(), c); err != nil {
		t.Error(err)
	}
	if n, _ := store.Value("connection_limit.p.active_connections"); n != 0 || f.active.Load() != 0 {
		t.Errorf("%d left", n)
	}
}

func TestDisabled(t *testing.T) {
	f, _ := compile(t, `, "runtimeEnabled": {"defaultValue": false, "runtimeKey": "k"}`, func(context.Context, *conn.Conn) error { return nil })
	f.max = 0
	if err := f.ServeConn(t.Context(), pipe()); err != nil {
		t.Error(err)
	}
}

func TestTheRuntimeSwitchesIt(t *testing.T) {
	const flag = `, "runtimeEnabled": {"defaultValue": true, "runtimeKey": "limit.on"}`
	end := conn.ErrParked
	f, store := compile(t, flag, func(context.Context, *conn.Conn) error { return end })
	settings := &extension.Runtime{}
	f.runtime = settings
	settings.Set(map[string]string{"limit.on": "false"})
	free, other := pipe(), pipe()
	for _, c := range []*conn.Conn{free, other} {
		if err := f.ServeConn(t.Context(), c); !errors.Is(err, conn.ErrParked) {
			t.Fatalf("while it is off: %v", err)
		}
	}
	settings.Set(nil)
	if err := f.ServeConn(t.Context(), free); !errors.Is(err, conn.ErrParked) {
		t.Errorf("a connection that was let in before: %v", err)
	}
	counted := pipe()
	if err := f.ServeConn(t.Context(), counted); !errors.Is(err, conn.ErrParked) {
		t.Errorf("the first that counts: %v", err)
	}
	if err := f.ServeConn(t.Context(), pipe()); !errors.Is(err, ErrLimited) {
		t.Errorf("the second: %v", err)
	}
	settings.Set(map[string]string{"limit.on": "0"})
	end = nil
	for _, c := range []*conn.Conn{free, other, counted} {
		if err := f.ServeConn(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	if n, _ := store.Value("connection_limit.p.active_connections"); n != 0 {
		t.Errorf("%d connections when all are gone", n)
	}
}
