package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/test/kit"
)

// No answer is of a configuration that was not in force at some time between the request's begin and its end, as a whole: the listener's
// version, the route table's, and the cluster's that the route leads to.
func TestEveryAnswerIsOfAConfigurationInForce(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { changeAtRandom(t, delta, 500, 0) })
}

const (
	worldListeners = 2
	worldTables    = 3
	worldOrigins   = 48
	worldClusters  = 4 // from the start; they stay
)

// A picture is what a world is at one time. Immutable once others see it.
type picture struct {
	listeners [worldListeners]struct{ version, table int }
	tables    [worldTables]struct {
		version  int
		clusters [2]string // of the paths /0 and /1
	}
	clusters map[string]int // the origin of each
}

// A world is a process with a model of what its configuration is.
type world struct {
	*mesh
	delta   bool
	random  *rand.Rand
	origins []string
	ports   [worldListeners]int
	now     picture
	eds     map[string]string // the service name of each EDS cluster
	count   int               // of names and versions
	origin  int               // the last that was given to a cluster
	touched map[string]bool   // types that were changed since the last settle
	rank    int               // of the last of them

	mu     sync.Mutex
	states []picture    // guarded by mu
	begun  atomic.Int64 // the last of states that may be in force
	done   atomic.Int64 // the last that is for sure, or a later one
	asked  atomic.Int64 // requests
	broken atomic.Bool
}

// changeAtRandom makes random changes while requests run, and checks their answers. seed 0 is a new one each time.
func changeAtRandom(t *testing.T, delta bool, steps int, seed uint64) {
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	w := &world{
		delta: delta, random: rand.New(rand.NewPCG(seed, 1)), origins: originsOf(t, worldOrigins), eds: map[string]string{}, touched: map[string]bool{},
	}
	w.now.clusters = map[string]int{}
	w.mesh = startMesh(t, delta, func(m *mesh, e *kit.Edit) { w.mesh = m; w.first(e) })
	w.warm()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i, c := range []clientKind{{true, 4 * time.Millisecond}, {false, 2 * time.Millisecond}, {false, 50 * time.Millisecond}, {false, 300 * time.Millisecond}} {
		clients.Go(func() { w.client(c, rand.New(rand.NewPCG(seed, uint64(i)+2)), stop) }) // ends with stop
	}
	defer clients.Wait()
	defer sync.OnceFunc(func() { close(stop) })()
	for len(w.states) <= steps && !w.broken.Load() {
		w.step()
		if w.random.IntN(2) == 0 {
			w.settle()
		}
	}
	w.settle()
	t.Logf("%d requests during %d steps", w.asked.Load(), len(w.states)-1)
	if w.asked.Load() == 0 {
		t.Error("there were no requests")
	}
}

// first is the configuration at the start.
func (w *world) first(e *kit.Edit) {
	for i := range worldClusters {
		name := fmt.Sprint("c", i)
		if i%2 == 0 {
			w.eds[name] = name
		}
		w.putCluster(e, name)
		w.now.clusters[name] = w.put(e, name)
	}
	for i := range w.now.tables {
		w.now.tables[i].clusters = [2]string{"c0", "c1"}
		w.putTable(e, i)
	}
	for i := range w.now.listeners {
		w.ports[i] = freePort(w.t)
		w.now.listeners[i].table = i
		w.putListener(e, i)
	}
	w.states = append(w.states, w.now)
}

// another is an origin that no cluster had for a while.
func (w *world) another() int {
	w.origin = (w.origin + 1) % len(w.origins)
	return w.origin
}

// putCluster offers an EDS cluster; others are put's.
func (w *world) putCluster(e *kit.Edit, name string) {
	if service, ok := w.eds[name]; ok {
		c := kit.EDSCluster(name)
		c.EdsClusterConfig.ServiceName = service
		c.ConnectTimeout = durationpb.New(10*time.Second + time.Duration(w.count)*time.Millisecond)
		e.Set(name, c)
	}
}

// put offers another origin for a cluster.
func (w *world) put(e *kit.Edit, name string) int {
	at := w.another()
	if service, ok := w.eds[name]; ok {
		e.Set(service, kit.Assignment(service, w.origins[at]))
	} else {
		e.Set(name, kit.StaticCluster(name, w.origins[at]))
	}
	return at
}

func (w *world) table(i int) *routev3.RouteConfiguration {
	x := w.now.tables[i]
	r := kit.Routes(fmt.Sprint("r", i), "/0", x.clusters[0], "/1", x.clusters[1], "/", "=direct")
	r.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-table", Value: fmt.Sprintf("%d.%d", i, x.version)}}}
	return r
}

func (w *world) putTable(e *kit.Edit, i int) { r := w.table(i); e.Set(r.GetName(), r) }

func (w *world) listener(i int) *listenerv3.Listener {
	x := w.now.listeners[i]
	manager := kit.Manager("front", fmt.Sprint("r", x.table))
	manager.ServerName = strconv.Itoa(x.version)
	return &listenerv3.Listener{
		Name: fmt.Sprint("l", i), Address: kit.Address(fmt.Sprintf("127.0.0.1:%d", w.ports[i])),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: kit.Any(manager)},
		}}}},
	}
}

func (w *world) putListener(e *kit.Edit, i int) { l := w.listener(i); e.Set(l.GetName(), l) }

// change puts the next state into effect, which now is; types are those that f changes. A burst of changes has the types that others refer to
// first, as control planes have to send them.
func (w *world) change(f func(e *kit.Edit), types ...string) {
	order := []string{kit.ClusterURL, kit.EndpointURL, kit.ListenerURL, kit.RouteURL}
	rank := slices.Index(order, types[0])
	if rank < w.rank {
		w.settle()
	}
	w.rank = rank
	for _, url := range types {
		w.touched[url] = true
	}
	w.mu.Lock()
	w.states = append(w.states, w.now)
	w.mu.Unlock()
	w.begun.Add(1)
	w.plane.Update(f)
}

// settle waits until all changes so far are in force.
func (w *world) settle() {
	w.t.Helper()
	for url := range w.touched {
		w.accepted(url)
	}
	clear(w.touched)
	w.rank = 0
	w.done.Store(w.begun.Load())
}

// settleWarm is settle for what has to warm.
func (w *world) settleWarm() {
	w.t.Helper()
	for url := range w.touched {
		w.accepted(url)
	}
	w.warm()
	w.settle()
}

// step changes one thing.
func (w *world) step() {
	w.count++
	w.now.clusters = maps.Clone(w.now.clusters)
	names := slices.Sorted(maps.Keys(w.now.clusters))
	name := names[w.random.IntN(len(names))]
	switch w.random.IntN(12) {
	case 0, 1, 2:
		w.changeTable(w.random.IntN(worldTables), names)
	case 3, 4, 5:
		w.changeOrigin(name)
	case 6, 7:
		w.changeCluster(name)
	case 8:
		w.changeListener(w.random.IntN(worldListeners))
	case 9:
		if len(names) < 2*worldClusters {
			w.addCluster(fmt.Sprint("d", w.count))
		}
	case 10:
		w.removeCluster(names)
	case 11:
		w.mistake()
	}
}

func (w *world) changeTable(i int, names []string) {
	w.now.tables[i].version = w.count
	for k := range w.now.tables[i].clusters {
		w.now.tables[i].clusters[k] = names[w.random.IntN(len(names))]
	}
	w.change(func(e *kit.Edit) { w.putTable(e, i) }, kit.RouteURL)
}

func (w *world) changeOrigin(name string) {
	w.now.clusters[name] = (w.origin + 1) % len(w.origins)
	url := kit.ClusterURL
	if _, ok := w.eds[name]; ok {
		url = kit.EndpointURL
	}
	w.change(func(e *kit.Edit) { w.put(e, name) }, url)
}

// changeCluster makes another version of a cluster: of EDS with the same endpoints, or with those of another service, which have still to come;
// or with endpoints of its own.
func (w *world) changeCluster(name string) {
	_, was := w.eds[name]
	switch {
	case was && w.random.IntN(2) == 0:
		w.change(func(e *kit.Edit) { w.putCluster(e, name) }, kit.ClusterURL)
	case was && w.random.IntN(2) == 0:
		delete(w.eds, name)
		w.changeOrigin(name)
	default:
		w.settle()
		w.eds[name] = fmt.Sprint("s", w.count)
		w.now.clusters[name] = (w.origin + 1) % len(w.origins)
		w.change(func(e *kit.Edit) { w.putCluster(e, name); w.put(e, name) }, kit.ClusterURL, kit.EndpointURL)
		w.settleWarm()
	}
}

func (w *world) changeListener(i int) {
	w.now.listeners[i].version, w.now.listeners[i].table = w.count, w.random.IntN(worldTables)
	w.change(func(e *kit.Edit) { w.putListener(e, i) }, kit.ListenerURL)
	w.settleWarm() // its routes may have to come
}

// addCluster adds a cluster. A route may lead to it as soon as it is warm; without having to wait for what is not EDS.
func (w *world) addCluster(name string) {
	w.now.clusters[name] = (w.origin + 1) % len(w.origins)
	if w.random.IntN(2) == 0 {
		w.change(func(e *kit.Edit) { w.put(e, name) }, kit.ClusterURL)
		return
	}
	w.settle()
	w.eds[name] = name
	w.change(func(e *kit.Edit) { w.putCluster(e, name); w.put(e, name) }, kit.ClusterURL, kit.EndpointURL)
	if w.random.IntN(2) == 0 {
		w.settleWarm()
		return
	}
	// The route to it comes when its endpoints were acknowledged, and nobody waits for more.
	w.accepted(kit.ClusterURL)
	w.accepted(kit.EndpointURL)
	w.now.clusters = maps.Clone(w.now.clusters)
	w.changeTable(w.random.IntN(worldTables), []string{name})
}

// removeCluster removes a cluster that was added, once no route leads to it.
func (w *world) removeCluster(names []string) {
	used := map[string]bool{}
	for _, x := range w.now.tables {
		used[x.clusters[0]], used[x.clusters[1]] = true, true
	}
	for _, name := range names {
		if !used[name] && name[0] == 'd' {
			w.settle()
			delete(w.eds, name)
			delete(w.now.clusters, name)
			w.change(func(e *kit.Edit) { e.Remove(kit.ClusterURL, name) }, kit.ClusterURL)
			return
		}
	}
}

// mistake sends something bad among the good, and takes it back: nothing changes.
func (w *world) mistake() {
	w.settle()
	url, name, undo := kit.ClusterURL, "bad", func(e *kit.Edit) {}
	switch w.random.IntN(3) {
	case 0:
		bad := kit.StaticCluster("bad", w.origins[0])
		bad.ConnectTimeout = durationpb.New(-time.Second)
		w.plane.Update(func(e *kit.Edit) { e.Set("bad", bad) })
		undo = func(e *kit.Edit) { e.Remove(kit.ClusterURL, "bad") }
	case 1:
		url = kit.RouteURL
		i := w.now.listeners[0].table
		bad := w.table(i)
		name = bad.GetName()
		bad.VirtualHosts = append(bad.VirtualHosts, bad.GetVirtualHosts()[0])
		w.plane.Update(func(e *kit.Edit) { e.Set(name, bad) })
		undo = func(e *kit.Edit) { w.putTable(e, i) }
	case 2:
		url, name = kit.ListenerURL, "l0"
		bad := w.listener(0)
		bad.FilterChains[0].Filters[0].ConfigType = nil
		w.plane.Update(func(e *kit.Edit) { e.Set("l0", bad) })
		undo = func(e *kit.Edit) { w.putListener(e, 0) }
	}
	w.refused(url, strconv.Quote(name))
	w.plane.Update(undo)
	w.accepted(url)
}

// A reply is what is seen of an answer.
type reply struct {
	status              int
	server, table, body string
	last                bool // on its connection
}

// A clientKind is how a client asks: on new connections each time or on those it has, and how often.
type clientKind struct {
	fresh bool
	every time.Duration
}

// client asks until stop.
func (w *world) client(kind clientKind, random *rand.Rand, stop <-chan struct{}) {
	client := w.newClient(kind.fresh)
	defer client.CloseIdleConnections()
	pace := time.NewTicker(kind.every)
	defer pace.Stop()
	for !w.broken.Load() {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		i, path := random.IntN(worldListeners), random.IntN(3)
		from := w.done.Load()
		got, opened, err := fetch(client, fmt.Sprintf("http://127.0.0.1:%d/%d", w.ports[i], path))
		to := w.begun.Load()
		w.mu.Lock()
		before, possible := w.states[min(from, opened):to+1], w.states[from:to+1]
		w.mu.Unlock()
		if err != nil || !allowed(before, possible, i, path, got) {
			w.broken.Store(true)
			w.t.Errorf("listener %d, path /%d, %+v: %+v, %v; in force were %d to %d:\n%s", i, path, kind, got, err, from, to, show(possible))
		}
		w.asked.Add(1)
	}
}

func show(all []picture) string {
	var b strings.Builder
	for _, x := range all[:min(len(all), 12)] {
		fmt.Fprintf(&b, "%+v\n", x)
	}
	return b.String()
}

// An openedConn is a connection that knows which state was in force when it was opened.
type openedConn struct {
	net.Conn
	done int64
}

func (w *world) newClient(fresh bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: fresh,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			done := w.done.Load()
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &openedConn{c, done}, nil
		},
	}}
}

// fetch asks once. opened is what was in force when the connection was opened.
func fetch(c *http.Client, url string) (got reply, opened int64, err error) {
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if o, ok := i.Conn.(*openedConn); ok {
			opened = o.done
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, url, nil)
	if err != nil {
		return got, 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return got, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	got = reply{resp.StatusCode, resp.Header.Get("server"), resp.Header.Get("x-table"), string(body), resp.Close}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return got, opened, err
}

// allowed reports whether an answer of a listener to a path is of one of these states. What the endpoints of its cluster are is looked at last,
// so that they may be those of a later one. An answer that ends its connection may be of a listener as it was when that was opened, which is
// what before begins with; but its routes and clusters are not.
func allowed(before, states []picture, listener, path int, got reply) bool {
	tables := map[int]bool{} // that such a listener leads to
	for _, s := range before {
		if l := s.listeners[listener]; got.server == strconv.Itoa(l.version) {
			tables[l.table] = true
		}
	}
	for i, s := range states {
		l := s.listeners[listener]
		if !got.last && got.server != strconv.Itoa(l.version) {
			continue
		}
		for _, n := range slices.Collect(maps.Keys(tables)) {
			if (got.last || n == l.table) && s.gives(n, path, got, states[i:]) {
				return true
			}
		}
	}
	return false
}

// gives reports whether an answer is one of a table.
func (s *picture) gives(n, path int, got reply, after []picture) bool {
	table := &s.tables[n]
	if got.table != fmt.Sprintf("%d.%d", n, table.version) {
		return false
	}
	if path == len(table.clusters) {
		return got.body == "direct"
	}
	return slices.ContainsFunc(after, func(later picture) bool {
		at, ok := later.clusters[table.clusters[path]]
		return ok && got.body == strconv.Itoa(at)
	})
}
