package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/transport/tcp"
	"github.com/weftproxy/weft/upstream"
)

func TestTCPSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(tcpSupport()) {
		t.Error(wrong)
	}
}

func TestTCPForwardsAndRecords(t *testing.T) {
	n := tcp.New()
	b := newTCP(t, n, "", host(t, n, echoHost))
	nc := b.dial()
	exchangeBytes(t, nc, "hello")
	_ = nc.Close()
	if err := <-b.ends; err != nil {
		t.Errorf("ended with %v", err)
	}
	r := b.log.last()
	if r.BytesIn != 5 || r.BytesOut != 5 || r.WireIn != 5 || r.UpstreamWireOut != 5 || r.Flags != 0 || r.Cluster != "c" || !r.UpstreamHost.IsValid() || !r.UpstreamLocal.IsValid() || r.Attempts != 1 {
		t.Errorf("record %+v", r)
	}
	for name, want := range map[string]int64{
		"tcp.t.downstream_cx_total": 1, "tcp.t.downstream_cx_rx_bytes_total": 5, "tcp.t.downstream_cx_tx_bytes_total": 5,
		"cluster.c.upstream_cx_total": 1, "cluster.c.upstream_cx_active": 0, "cluster.c.upstream_cx_rx_bytes_total": 5, "cluster.c.upstream_cx_destroy": 1,
	} {
		b.want(name, want)
	}
}

func TestTCPForwardsMuchInOddPieces(t *testing.T) {
	for name, n := range map[string]transport.Network{"spliced": tcp.New(), "copied": memory.New()} {
		t.Run(name, func(t *testing.T) {
			b := newTCP(t, n, "", host(t, n, echoHost))
			nc := b.dial()
			const size = 10 << 20
			data := make([]byte, size)
			r := rand.NewChaCha8([32]byte{1})
			_, _ = r.Read(data)
			var wg sync.WaitGroup
			wg.Go(func() {
				rest := data
				for len(rest) > 0 {
					k := min(len(rest), 1+rand.IntN(1<<rand.IntN(20)))
					if _, err := nc.Write(rest[:k]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[k:]
				}
				_ = nc.(interface{ CloseWrite() error }).CloseWrite()
			})
			h := sha256.New()
			got, err := io.Copy(h, struct{ io.Reader }{nc})
			wg.Wait()
			if want := sha256.Sum256(data); err != nil || got != size || !bytes.Equal(h.Sum(nil), want[:]) {
				t.Fatalf("%d bytes, %v", got, err)
			}
			if err := <-b.ends; err != nil {
				t.Errorf("ended with %v", err)
			}
			b.want("tcp.t.downstream_cx_rx_bytes_total", size)
			b.want("tcp.t.downstream_cx_tx_bytes_total", size)
			b.want("cluster.c.upstream_cx_tx_bytes_total", size)
		})
	}
}

func TestTCPUnixUpstream(t *testing.T) {
	n := tcp.New()
	path := filepath.Join(t.TempDir(), "s")
	listenAndServe(t, n, new(sync.WaitGroup), path, func(nc net.Conn) {
		echoHost(nc)
		_ = nc.Close()
	})
	b := newTCP(t, n, "", path)
	nc := b.dial()
	exchangeBytes(t, nc, "hello")
	_ = nc.Close()
	if r := b.log.last(); r.UpstreamPath != path {
		t.Errorf("record %+v", r)
	}
}

func TestTCPHalfClose(t *testing.T) {
	for name, n := range map[string]transport.Network{"spliced": tcp.New(), "copied": memory.New()} {
		t.Run(name, func(t *testing.T) {
			// The host answers when the client has said all, and the other way round.
			b := newTCP(t, n, "", host(t, n, func(nc net.Conn) {
				all, err := io.ReadAll(nc)
				if err != nil {
					t.Error(err)
				}
				_, _ = nc.Write(append([]byte("got "), all...))
			}))
			nc := b.dial()
			if _, err := nc.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			_ = nc.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(nc); err != nil || string(got) != "got question" {
				t.Errorf("got %q, %v", got, err)
			}

			b = newTCP(t, n, "", host(t, n, func(nc net.Conn) {
				_ = nc.(interface{ CloseWrite() error }).CloseWrite()
				if all, err := io.ReadAll(nc); err != nil || string(all) != "late" {
					t.Errorf("got %q, %v", all, err)
				}
			}))
			nc = b.dial()
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("read %d, %v", n, err)
			}
			if _, err := nc.Write([]byte("late")); err != nil {
				t.Error(err)
			}
			_ = nc.Close()
			<-b.ends
		})
	}
}

func TestTCPPassesResetsOn(t *testing.T) {
	n := tcp.New()
	t.Run("from the host", func(t *testing.T) {
		b := newTCP(t, n, "", host(t, n, func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 1))
			_ = nc.(*net.TCPConn).SetLinger(0)
		}))
		nc := b.dial()
		if _, err := nc.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		<-b.ends
		b.want("cluster.c.upstream_cx_destroy_remote", 1)
	})
	t.Run("from the client", func(t *testing.T) {
		got := make(chan error, 1)
		b := newTCP(t, n, "", host(t, n, func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 1))
			_, err := nc.Read(make([]byte, 1))
			got <- err
		}))
		nc := b.dial()
		if _, err := nc.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if c := <-b.conns; c == nil {
			t.Fatal("no connection")
		}
		eventuallyTCP(t, func() bool { v, _ := b.store.Value("tcp.t.downstream_cx_rx_bytes_total"); return v == 1 })
		_ = nc.(*net.TCPConn).SetLinger(0)
		_ = nc.Close()
		if err := <-got; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		<-b.ends
	})
}

func eventuallyTCP(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatal("never")
}

func TestTCPIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, `, "idleTimeout": "10s"`, host(t, n, echoHost))
		nc := b.dial()
		_ = nc.SetDeadline(time.Time{})
		for range 5 { // traffic keeps it open
			time.Sleep(9 * time.Second)
			exchangeBytes(t, nc, "x")
		}
		began := time.Now()
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("closed after %v", d)
		}
		b.want("tcp.t.idle_timeout", 1)
		if err := <-b.ends; !errors.Is(err, errTCPIdle) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestTCPIdleTimeoutDefaultAndOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		h := host(t, n, echoHost)
		b := newTCP(t, n, "", h)
		nc := b.dial()
		_ = nc.SetDeadline(time.Time{})
		began := time.Now()
		_, _ = nc.Read(make([]byte, 1))
		if d := time.Since(began); d != time.Hour {
			t.Errorf("closed after %v", d)
		}
		b = newTCP(t, n, `, "idleTimeout": "0s"`, h)
		nc = b.dial()
		_ = nc.SetDeadline(time.Time{})
		time.Sleep(1000 * time.Hour)
		exchangeBytes(t, nc, "still here")
	})
}

func TestTCPMaxDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, `, "maxDownstreamConnectionDuration": "30s", "maxDownstreamConnectionDurationJitterPercentage": {"value": 50}`, host(t, n, echoHost))
		nc := b.dial()
		_ = nc.SetDeadline(time.Time{})
		began := time.Now()
		for time.Since(began) < 29*time.Second {
			exchangeBytes(t, nc, "x")
			time.Sleep(time.Second)
		}
		_, _ = nc.Read(make([]byte, 1))
		if d := time.Since(began); d < 30*time.Second || d > 45*time.Second {
			t.Errorf("closed after %v", d)
		}
		b.want("tcp.t.max_downstream_connection_duration", 1)
		if r := b.log.last(); r.Flags != observe.DT {
			t.Errorf("flags %v", r.Flags)
		}
	})
}

func TestTCPFailures(t *testing.T) {
	refused := "127.0.0.1:1"
	for _, tt := range []struct {
		name  string
		cfg   string
		hosts []string
		flags observe.Flag
		stats map[string]int64
		tries int
	}{
		{"no cluster", `, "cluster": "nobody"`, nil, observe.NC, map[string]int64{"tcp.t.downstream_cx_no_route": 1}, 0},
		{"no hosts", "", nil, observe.UH, map[string]int64{"cluster.c.upstream_cx_none_healthy": 1}, 1},
		{"refused", "", []string{refused}, observe.UF | observe.URX, map[string]int64{"cluster.c.upstream_cx_connect_fail": 1, "cluster.c.upstream_cx_connect_attempts_exceeded": 1, "cluster.c.upstream_cx_active": 0}, 1},
		{"refused three times", `, "maxConnectAttempts": 3, "backoffOptions": {"baseInterval": "1s"}`, []string{refused}, observe.UF | observe.URX, map[string]int64{"cluster.c.upstream_cx_connect_fail": 3, "cluster.c.upstream_cx_connect_attempts_exceeded": 1}, 3},
		{"times out", "", []string{"127.0.0.1:2"}, observe.UF | observe.URX, map[string]int64{"cluster.c.upstream_cx_connect_timeout": 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memory.New()
				n.Hang("127.0.0.1:2")
				b := newTCP(t, n, tt.cfg, tt.hosts...)
				nc := b.dial()
				if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("read: %v", err)
				}
				r := b.log.last()
				if r.Flags != tt.flags || r.Attempts != tt.tries {
					t.Errorf("flags %v, want %v; %d attempts", r.Flags, tt.flags, r.Attempts)
				}
				want := ""
				if strings.HasPrefix(tt.name, "refused") {
					want = "delayed connect error: Connection refused"
				}
				if r.UpstreamFailure != want {
					t.Errorf("failure %q, want %q", r.UpstreamFailure, want)
				}
				for name, want := range tt.stats {
					b.want(name, want)
				}
			})
		})
	}
}

func TestTCPTriesAnotherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, `, "maxConnectAttempts": 2`, "127.0.0.1:1", host(t, n, echoHost))
		for range 2 {
			nc := b.dial()
			exchangeBytes(t, nc, "x")
			_ = nc.Close()
			b.log.last()
		}
	})
}

func TestTCPOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, "")
		b.p.clusters.Store(upstream.NewTable(b.cluster("c", `, "circuitBreakers": {"thresholds": [{"maxConnections": 1}]}`, host(t, n, echoHost))))
		first := b.dial()
		exchangeBytes(t, first, "x")
		if _, err := b.dial().Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		if r := b.log.last(); r.Flags != observe.UO {
			t.Errorf("flags %v", r.Flags)
		}
	})
}

func TestTCPConnectsWhenDataComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, `, "upstreamConnectMode": "ON_DOWNSTREAM_DATA", "maxEarlyDataBytes": 8192`, host(t, n, echoHost))
		nc := b.dial()
		synctest.Wait()
		b.want("cluster.c.upstream_cx_total", 0)
		exchangeBytes(t, nc, "x")
		b.want("cluster.c.upstream_cx_total", 1)
	})
}

func TestTCPWeightedClusters(t *testing.T) {
	cfg := &tcpConfig{}
	env := &extension.Env{Path: "at", Problems: &resource.Problems{}}
	var m tcpv3.TcpProxy
	if err := protojson.Unmarshal([]byte(`{"statPrefix": "t", "weightedClusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}}`), &m); err != nil {
		t.Fatal(err)
	}
	wanted, err := cfg.compileTargets(env, &m)
	if err != nil || len(wanted) != 2 || wanted["at.weighted_clusters.clusters[1].name"] != "b" {
		t.Fatal(wanted, err)
	}
	seen := map[string]int{}
	for i := range uint64(8) {
		seen[cfg.cluster(i)]++
	}
	if seen["a"] != 2 || seen["b"] != 6 {
		t.Errorf("chosen %v", seen)
	}
}

func TestTCPLogsOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.New()
		b := newTCP(t, n, `, "accessLogOptions": {"accessLogFlushInterval": "10s", "flushAccessLogOnConnected": true, "flushAccessLogOnStart": true}`, host(t, n, echoHost))
		nc := b.dial()
		_ = nc.SetDeadline(time.Time{})
		exchangeBytes(t, nc, "12345")
		time.Sleep(25 * time.Second)
		_ = nc.Close()
		<-b.ends
		want := []observe.LogType{observe.TCPConnectionStart, observe.TCPUpstreamConnected, observe.TCPPeriodic, observe.TCPPeriodic, observe.TCPConnectionEnd}
		if len(b.log.kinds) != len(want) {
			t.Fatalf("entries %v", b.log.kinds)
		}
		for i := range want {
			if b.log.kinds[i] != want[i] {
				t.Errorf("entries %v", b.log.kinds)
			}
		}
		if n := b.log.records[2].BytesIn; n != 5 {
			t.Errorf("%d bytes in the periodic entry", n)
		}
	})
}

func TestTCPEndsWithItsListener(t *testing.T) {
	n := tcp.New()
	b := newTCP(t, n, "", host(t, n, echoHost))
	ctx, cancel := context.WithCancelCause(t.Context())
	b.ctx.Store(&ctx)
	nc := b.dial()
	exchangeBytes(t, nc, "x")
	gone := errors.New("gone")
	cancel(gone)
	if err := <-b.ends; !errors.Is(err, gone) {
		t.Errorf("ended with %v", err)
	}
}

func TestTCPDrain(t *testing.T) {
	for _, check := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := memory.New()
			b := newTCP(t, n, `, "checkDrainClose": `+strconv.FormatBool(check), host(t, n, echoHost))
			nc := b.dial()
			exchangeBytes(t, nc, "x")
			synctest.Wait() // both directions wait for bytes
			(<-b.conns).Drain()
			if _, err := nc.Write([]byte("y")); err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(time.Second))
			_, err := io.ReadAll(nc)
			if closed := err == nil; closed != check {
				t.Errorf("check_drain_close %v: %v", check, err)
			}
		})
	}
}

func TestTCPSendsWhatListenerFiltersReadFirst(t *testing.T) {
	n := tcp.New()
	b := newTCP(t, n, "", host(t, n, echoHost))
	var wg sync.WaitGroup
	at := listenAndServe(t, n, &wg, "127.0.0.1:0", func(nc net.Conn) {
		c := conn.New(nc)
		if _, err := c.Peek(10); err != nil {
			t.Error(err)
		}
		c.Discard(4)
		_ = b.p.ServeConn(t.Context(), c)
		_ = c.Close()
	})
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write([]byte("XXXXhello world")); err != nil {
		t.Fatal(err)
	}
	_ = nc.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(nc); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTCPKeepsItsHandler(t *testing.T) {
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: &resource.Problems{}}
	m := func(idle string) *tcpv3.TcpProxy {
		var m tcpv3.TcpProxy
		if err := protojson.Unmarshal([]byte(`{"statPrefix": "t", "cluster": "c", "idleTimeout": "`+idle+`"}`), &m); err != nil {
			t.Fatal(err)
		}
		return &m
	}
	first, err := buildTCP(env, m("1s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	same, _ := buildTCP(env, m("1s"), first.Handler)
	other, _ := buildTCP(env, m("2s"), first.Handler)
	if same.Handler != first.Handler || other.Handler == first.Handler {
		t.Error("the handler was kept when it must not be, or the other way round")
	}
}
