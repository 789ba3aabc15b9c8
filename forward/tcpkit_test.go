package forward

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/upstream"
)

// logged keeps access log entries.
type logged struct {
	mu      sync.Mutex
	records []observe.Record
	kinds   []observe.LogType
	more    chan struct{} // gets a token for each entry
}

func (l *logged) Log(e *observe.Entry) {
	l.mu.Lock()
	l.records, l.kinds = append(l.records, *e.Record), append(l.kinds, e.Type)
	l.mu.Unlock()
	l.more <- struct{}{}
}

func (l *logged) last() observe.Record {
	<-l.more
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[len(l.records)-1]
}

// A tcpBench is a TCP proxy between a listener and hosts.
type tcpBench struct {
	t     testing.TB
	net   transport.Network
	store *stats.Store
	p     *TCPProxy
	log   *logged
	at    string                          // where the proxy listens
	ctx   atomic.Pointer[context.Context] // of the proxy's connections
	conns chan *conn.Conn                 // downstream connections as the proxy sees them
	ends  chan error                      // what ServeConn returned
	wg    sync.WaitGroup
}

// newTCP makes a proxy whose cluster "c" has the given hosts.
func newTCP(t testing.TB, n transport.Network, cfg string, hosts ...string) *tcpBench {
	t.Helper()
	b := &tcpBench{t: t, net: n, store: stats.NewStore(stats.Options{}), conns: make(chan *conn.Conn, 100), ends: make(chan error, 100)}
	ctx := t.Context()
	b.ctx.Store(&ctx)
	b.log = &logged{more: make(chan struct{}, 1000)}
	var m tcpv3.TcpProxy
	if err := protojson.Unmarshal([]byte(`{"statPrefix": "t"`+cfg+`}`), &m); err != nil {
		t.Fatal(err)
	}
	if m.GetClusterSpecifier() == nil {
		m.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: "c"}
	}
	env := &extension.Env{Stats: b.store, Network: n, Problems: &resource.Problems{}, Path: "at"}
	built, err := buildTCP(env, &m, nil)
	if err != nil || env.Problems.HasErrors() {
		t.Fatal(err, env.Problems.All())
	}
	b.p = built.Handler.(*TCPProxy)
	b.p.cfg.logs = append(b.p.cfg.logs, b.log)
	built.Publish(upstream.NewTable(b.cluster("c", "", hosts...)))
	b.at = b.listen("127.0.0.1:0", b.serve)
	return b
}

func (b *tcpBench) cluster(name, more string, hosts ...string) *upstream.Cluster {
	b.t.Helper()
	var endpoints []string
	for _, h := range hosts {
		at := strings.LastIndexByte(h, ':')
		if at < 0 {
			endpoints = append(endpoints, `{"endpoint": {"address": {"pipe": {"path": "`+h+`"}}}}`)
			continue
		}
		endpoints = append(endpoints, `{"endpoint": {"address": {"socketAddress": {"address": "`+h[:at]+`", "portValue": `+h[at+1:]+`}}}}`)
	}
	text := `{"name": "` + name + `", "type": "STATIC", "connectTimeout": "2s", "loadAssignment": {"clusterName": "c", "endpoints": [{"lbEndpoints": [` + strings.Join(endpoints, ", ") + `]}]}` + more + `}`
	cfg := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(text), cfg); err != nil {
		b.t.Fatal(err, text)
	}
	problems := &resource.Problems{}
	c := upstream.Compile(upstream.CompileEnv{Stats: b.store, Network: b.net, Log: slog.New(slog.DiscardHandler)}, cfg, "", problems)
	if problems.HasErrors() {
		b.t.Fatal(problems.All())
	}
	b.t.Cleanup(c.Close)
	return c
}

// listen serves connections, each on a goroutine, until the test ends.
func (b *tcpBench) listen(address string, serve func(net.Conn)) string {
	b.t.Helper()
	return listenAndServe(b.t, b.net, &b.wg, address, serve)
}

func listenAndServe(t testing.TB, n transport.Network, wg *sync.WaitGroup, address string, serve func(net.Conn)) string {
	t.Helper()
	network := "tcp"
	if !strings.Contains(address, ":") {
		network = "unix"
	}
	ln, err := n.Listen(t.Context(), transport.ListenOptions{Network: network, Address: address})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(nc) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func (b *tcpBench) serve(nc net.Conn) {
	c := conn.New(nc)
	b.conns <- c
	err := b.p.ServeConn(*b.ctx.Load(), c)
	_ = c.Close()
	b.ends <- err
}

func (b *tcpBench) dial() net.Conn {
	b.t.Helper()
	nc, err := b.net.Dial(b.t.Context(), transport.DialOptions{Network: "tcp", Address: b.at})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc
}

func (b *tcpBench) want(name string, n int64) {
	b.t.Helper()
	if got, _ := b.store.Value(name); got != n {
		b.t.Errorf("%s is %d, want %d", name, got, n)
	}
}

// host runs an upstream.
func host(t testing.TB, n transport.Network, serve func(net.Conn)) string {
	t.Helper()
	return listenAndServe(t, n, new(sync.WaitGroup), "127.0.0.1:0", func(nc net.Conn) {
		defer func() { _ = nc.Close() }()
		serve(nc)
	})
}

func echoHost(nc net.Conn) {
	_, _ = io.Copy(nc, struct{ io.Reader }{nc})
	_ = nc.(interface{ CloseWrite() error }).CloseWrite()
}

func exchangeBytes(t testing.TB, nc net.Conn, text string) {
	t.Helper()
	if _, err := nc.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v", got, err)
	}
}
