package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"buf.build/go/protoyaml"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http1"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/upstream/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver with a table.
type names struct {
	mu    sync.Mutex
	table map[string][]discovery.Answer
	fail  error
	asked int
}

func (n *names) Lookup(_ context.Context, name string, _ discovery.Family) ([]discovery.Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return n.table[name], n.fail
}

func (n *names) set(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table == nil {
		n.table = map[string][]discovery.Answer{}
	}
	n.table[name] = nil
	for _, a := range addrs {
		n.table[name] = append(n.table[name], discovery.Answer{Addr: netip.MustParseAddr(a), TTL: 30 * time.Second})
	}
}

func (n *names) break_(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

// A world is what the clusters of a test live in.
type world struct {
	t     *testing.T
	net   *memory.Network
	names *names
	store *stats.Store
	env   CompileEnv
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, net: memory.New(), names: &names{}, store: stats.NewStore(stats.Options{})}
	w.env = CompileEnv{Stats: w.store, Network: w.net, Resolver: w.names, HTTP1: func(HTTP1Options) protocol.Client {
		return http1.NewClient(http1.ClientOptions{})
	}}
	return w
}

func parse(t testing.TB, yaml string) *clusterv3.Cluster {
	t.Helper()
	m := &clusterv3.Cluster{}
	if err := protoyaml.Unmarshal([]byte(strings.ReplaceAll(yaml, "\t", "  ")), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *world) compile(yaml string) *Cluster {
	w.t.Helper()
	p := resource.NewProblems("")
	c := Compile(w.env, parse(w.t, yaml), "cluster", p)
	for _, problem := range p.All() {
		w.t.Fatal(problem)
	}
	return c
}

// start compiles a cluster, starts it, and closes it when the test ends.
func (w *world) start(yaml string) *Cluster {
	w.t.Helper()
	c := w.compile(yaml)
	c.Start(w.t.Context())
	w.t.Cleanup(c.Close)
	return c
}

// stat returns a statistic below cluster.<name>.
func (w *world) stat(c *Cluster, name string) int64 {
	w.t.Helper()
	m := c.members.Lane(0)
	switch name {
	case "update_attempt":
		return int64(m.UpdateAttempt.Value())
	case "update_success":
		return int64(m.UpdateSuccess.Value())
	case "update_failure":
		return int64(m.UpdateFailure.Value())
	case "update_empty":
		return int64(m.UpdateEmpty.Value())
	case "update_no_rebuild":
		return int64(m.UpdateNoRebuild.Value())
	case "membership_change":
		return int64(m.MembershipChange.Value())
	case "membership_total":
		return m.MembershipTotal.Value()
	case "membership_healthy":
		return m.MembershipHealthy.Value()
	case "health_check.healthy":
		return c.checker.Stats.Healthy.Value()
	}
	w.t.Fatalf("no statistic %s", name)
	return 0
}

func (w *world) expect(c *Cluster, name string, want int64) {
	w.t.Helper()
	if got := w.stat(c, name); got != want {
		w.t.Errorf("%s is %d, want %d", name, got, want)
	}
}

func addresses(c *Cluster) string {
	var all []string
	for _, h := range c.Hosts().All() {
		all = append(all, h.Address())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func isReady(c *Cluster) bool {
	select {
	case <-c.Ready():
		return true
	default:
		return false
	}
}

// A server answers each connection with what answer says, until the test ends.
type server struct {
	mu     sync.Mutex
	answer string
	seen   []string
	conns  int
}

func (s *server) say(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *server) last() (request string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) > 0 {
		request = s.seen[len(s.seen)-1]
	}
	return request, s.conns
}

func (w *world) serve(address, answer string) *server {
	w.t.Helper()
	ln, err := w.net.Listen(w.t.Context(), transport.ListenOptions{Network: "tcp", Address: address})
	if err != nil {
		w.t.Fatal(err)
	}
	s := &server{answer: answer}
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			running.Go(func() { s.talk(c) })
		}
	})
	w.t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *server) talk(nc net.Conn) {
	c := conn.New(nc)
	defer func() { _ = c.Close() }()
	for {
		if err := c.Fill(); err != nil {
			return
		}
		b := c.Buffered()
		s.mu.Lock()
		s.seen = append(s.seen, string(b))
		answer := s.answer
		s.mu.Unlock()
		c.Discard(len(b))
		if answer == "" {
			continue
		}
		if _, err := nc.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

var errDNS = errors.New("SERVFAIL")
