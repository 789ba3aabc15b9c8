package kit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// A ControlPlane is an aggregated discovery service for tests, state of the world and delta, that sends what it is given, right or wrong, and
// remembers what it was told. Safe for concurrent use.
type ControlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	mu      sync.Mutex
	types   map[string]*offered // by type URL
	changed chan struct{}       // closed and replaced when anything changes, or is told
	said    []Said
	sent    []Sent
	answers map[answered]string // why versions were rejected; "" for an ACK
	server  *grpc.Server        // nil while it is down
	streams int
	serving sync.WaitGroup
}

// An offered is what there is of a type.
type offered struct {
	version   int
	withheld  bool                    // say nothing
	absent    bool                    // tell who asks for what does not exist
	also      []*discoveryv3.Resource // what the responses of this version have besides; of any type, under any name
	says      [2]string               // the version and the nonce that they claim; "" for the true ones
	resources map[string]*discoveryv3.Resource
}

// A Said is what a client has said of a response, or asked for.
type Said struct {
	TypeURL     string
	Nonce       string
	Version     string            // of a SotW request
	Names       []string          // SotW: all that are wanted; delta: those newly subscribed
	Unsubscribe []string          // delta
	Initial     map[string]string // delta: initial_resource_versions
	Error       string            // why the response was rejected; "" for an ACK
	Node        *corev3.Node      // nil where the request has none
	Delta       bool
	Stream      int // on which it was said, the first being 1
}

// A Sent is a response of a delta stream.
type Sent struct {
	TypeURL string
	Stream  int
	Names   []string
	Removed []string
}

// An answered is a version of a type that a client has acknowledged or rejected.
type answered struct {
	url     string
	version string // "v" and the number
}

// NewControlPlane returns a control plane that has nothing and is down.
func NewControlPlane() *ControlPlane {
	return &ControlPlane{types: map[string]*offered{}, changed: make(chan struct{}), answers: map[answered]string{}}
}

// Serve answers on ln until Stop.
func (c *ControlPlane) Serve(ln net.Listener) {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, c)
	secretv3.RegisterSecretDiscoveryServiceServer(s, secretService{c: c})
	c.mu.Lock()
	c.server = s
	c.mu.Unlock()
	c.serving.Go(func() { _ = s.Serve(ln) }) // ends with Stop
}

// Stop cuts all connections and closes the listener. It waits until nothing is left.
func (c *ControlPlane) Stop() {
	c.mu.Lock()
	s := c.server
	c.server = nil
	c.mu.Unlock()
	if s != nil {
		s.Stop()
	}
	c.serving.Wait()
}

// An Edit changes what a ControlPlane has. It is sent as one change for each type.
type Edit struct {
	c       *ControlPlane
	touched map[string]bool
}

// Update changes what there is and tells the clients.
func (c *ControlPlane) Update(f func(e *Edit)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &Edit{c: c, touched: map[string]bool{}}
	f(e)
	for url := range e.touched {
		c.types[url].version++
	}
	c.tell()
}

// Set gives a resource a new version.
func (e *Edit) Set(name string, m proto.Message) {
	body, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	e.SetAny(body.GetTypeUrl(), name, body)
}

// SetAny is Set for what need not be a message of the type.
func (e *Edit) SetAny(url, name string, body *anypb.Any) {
	o := e.of(url)
	o.resources[name] = &discoveryv3.Resource{Name: name, Version: strconv.Itoa(o.version + 1), Resource: body}
}

// Remove takes a resource away.
func (e *Edit) Remove(url, name string) { delete(e.of(url).resources, name) }

// SayAbsent makes delta streams name the resources of a type that are asked for and do not exist as removed. The protocol allows it; few control
// planes do it.
func (e *Edit) SayAbsent(url string) { e.of(url).absent = true }

// Withhold sends nothing of a type, not even that there is nothing, until Deliver.
func (e *Edit) Withhold(url string) { e.of(url).withheld = true }

// Deliver ends what Withhold began.
func (e *Edit) Deliver(url string) { e.of(url).withheld = false }

// Touch sends a type anew although nothing has changed.
func (e *Edit) Touch(url string) { e.of(url) }

// Also adds to what is sent of a type with this change, whatever it is called and whoever wants it. It is sent once.
func (e *Edit) Also(url, name string, body *anypb.Any) {
	o := e.of(url)
	o.also = append(o.also, &discoveryv3.Resource{Name: name, Version: strconv.Itoa(o.version + 1), Resource: body})
}

// As makes the responses with this change claim a version and a nonce; "" for the true ones.
func (e *Edit) As(url, version, nonce string) { e.of(url).says = [2]string{version, nonce} }

func (e *Edit) of(url string) *offered {
	o := e.c.types[url]
	if o != nil && !e.touched[url] {
		o.also, o.says = nil, [2]string{}
	}
	e.touched[url] = true
	if o == nil {
		o = &offered{resources: map[string]*discoveryv3.Resource{}}
		e.c.types[url] = o
	}
	return o
}

// tell wakes everybody who waits. mu is held.
func (c *ControlPlane) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Said returns all that clients have said so far.
func (c *ControlPlane) Said() []Said {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}

// Forget forgets what clients have said so far.
func (c *ControlPlane) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = nil
}

// Await waits until a client has said something that want accepts, among all it has said; want is called with all that was said, from the first.
func (c *ControlPlane) Await(ctx context.Context, want func([]Said) bool) error {
	for {
		c.mu.Lock()
		ok, changed := want(c.said), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			all := c.Said()
			return fmt.Errorf("%w; said so far, of %d: %+v", context.Cause(ctx), len(all), all[max(0, len(all)-shownSaid):])
		}
	}
}

// AwaitVersion waits until a client has acknowledged or rejected the present version of a type, and returns why it rejected it; "" if it
// did not.
func (c *ControlPlane) AwaitVersion(ctx context.Context, url string) (string, error) {
	why := ""
	err := c.Await(ctx, func([]Said) bool {
		ok := false
		why, ok = c.answers[answered{url, "v" + strconv.Itoa(c.types[url].version)}]
		return ok
	})
	return why, err
}

// shownSaid is how much of what was said an error shows.
const shownSaid = 40

// Sent returns all that was sent on delta streams so far.
func (c *ControlPlane) Sent() []Sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// Versions returns the version of a type as a whole, and that of each of its resources.
func (c *ControlPlane) Versions(url string) (all string, each map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.types[url]
	each = make(map[string]string, len(o.resources))
	for name, x := range o.resources {
		each[name] = x.GetVersion()
	}
	return strconv.Itoa(o.version), each
}

// Streams returns how many streams there have been.
func (c *ControlPlane) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// noteSent notes responses that are about to be sent on a delta stream. mu is held.
func (c *ControlPlane) noteSent(stream int, r *discoveryv3.DeltaDiscoveryResponse) {
	s := Sent{TypeURL: r.GetTypeUrl(), Stream: stream, Removed: r.GetRemovedResources()}
	for _, x := range r.GetResources() {
		s.Names = append(s.Names, x.GetName())
	}
	c.sent = append(c.sent, s)
}

// inOrder are type URLs, what others refer to first: responses to one change are sent in this order.
func inOrder[S any](states map[string]S) []string {
	rank := []string{RuntimeURL, ClusterURL, EndpointURL, SecretURL, FilterURL, ListenerURL, ScopeURL, RouteURL, VHostURL}
	return slices.SortedFunc(maps.Keys(states), func(a, b string) int { return slices.Index(rank, a) - slices.Index(rank, b) })
}

func (c *ControlPlane) note(s Said) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, s)
	version, _, _ := strings.Cut(s.Nonce, ".")
	if at := (answered{s.TypeURL, version}); version != "" {
		if _, before := c.answers[at]; !before {
			c.answers[at] = s.Error
		}
	}
	c.tell()
}

// enter counts a stream and returns its number.
func (c *ControlPlane) enter() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams++
	return c.streams
}

// StreamAggregatedResources implements the state of the world.
func (c *ControlPlane) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	number := c.enter()
	requests := make(chan *discoveryv3.DiscoveryRequest)
	go receive(s.Context(), s.Recv, requests)
	type state struct {
		names []string
		sent  int
	}
	states := map[string]*state{}
	for {
		c.mu.Lock()
		changed := c.changed
		var out []*discoveryv3.DiscoveryResponse
		for _, url := range inOrder(states) {
			st := states[url]
			if o := c.types[url]; o != nil && !o.withheld && o.version != st.sent {
				st.sent = o.version
				out = append(out, o.world(url, st.names, number))
			}
		}
		c.mu.Unlock()
		for _, r := range out {
			if err := s.Send(r); err != nil {
				return err
			}
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		case q, ok := <-requests:
			if !ok {
				return nil
			}
			c.note(Said{TypeURL: q.GetTypeUrl(), Nonce: q.GetResponseNonce(), Version: q.GetVersionInfo(), Names: q.GetResourceNames(),
				Error: q.GetErrorDetail().GetMessage(), Node: q.GetNode(), Stream: number})
			st := states[q.GetTypeUrl()]
			if st == nil {
				st = &state{}
				states[q.GetTypeUrl()] = st
			} else if !slices.Equal(st.names, q.GetResourceNames()) {
				st.sent = -1
			}
			st.names = q.GetResourceNames()
		}
	}
}

// world is the response with all that there is of a type, or of some names.
func (o *offered) world(url string, names []string, stream int) *discoveryv3.DiscoveryResponse {
	r := &discoveryv3.DiscoveryResponse{TypeUrl: url, VersionInfo: strconv.Itoa(o.version), Nonce: fmt.Sprintf("v%d.%d", o.version, stream)}
	all := names
	if len(names) == 0 {
		for name := range o.resources {
			all = append(all, name)
		}
		slices.Sort(all)
	}
	for _, name := range all {
		if x := o.resources[name]; x != nil {
			r.Resources = append(r.Resources, x.GetResource())
		}
	}
	for _, x := range o.also {
		r.Resources = append(r.Resources, x.GetResource())
	}
	r.VersionInfo, r.Nonce = cmp.Or(o.says[0], r.GetVersionInfo()), cmp.Or(o.says[1], r.GetNonce())
	return r
}

// receive hands on what a stream brings until it ends.
func receive[T any](ctx context.Context, recv func() (T, error), to chan<- T) {
	defer close(to)
	for {
		q, err := recv()
		if err != nil {
			return
		}
		select {
		case to <- q:
		case <-ctx.Done():
			return
		}
	}
}

// A deltaState is what a client of a delta stream wants of a type, and has.
type deltaState struct {
	all   bool
	names map[string]bool
	has   map[string]string // versions
	sent  int
}

// DeltaAggregatedResources implements the incremental variant.
func (c *ControlPlane) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	number := c.enter()
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go receive(s.Context(), s.Recv, requests)
	states := map[string]*deltaState{}
	for {
		c.mu.Lock()
		changed := c.changed
		var out []*discoveryv3.DeltaDiscoveryResponse
		for _, url := range inOrder(states) {
			st := states[url]
			if o := c.types[url]; o != nil && !o.withheld {
				if r := o.difference(url, st, number); r != nil {
					c.noteSent(number, r)
					out = append(out, r)
				}
			}
		}
		c.mu.Unlock()
		for _, r := range out {
			if err := s.Send(r); err != nil {
				return err
			}
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		case q, ok := <-requests:
			if !ok {
				return nil
			}
			c.note(Said{TypeURL: q.GetTypeUrl(), Nonce: q.GetResponseNonce(), Names: q.GetResourceNamesSubscribe(), Delta: true,
				Unsubscribe: q.GetResourceNamesUnsubscribe(), Initial: q.GetInitialResourceVersions(),
				Error: q.GetErrorDetail().GetMessage(), Node: q.GetNode(), Stream: number})
			st := states[q.GetTypeUrl()]
			if st == nil {
				st = &deltaState{names: map[string]bool{}, has: map[string]string{}, all: len(q.GetResourceNamesSubscribe()) == 0}
				states[q.GetTypeUrl()] = st
			}
			st.take(q)
		}
	}
}

func (st *deltaState) take(q *discoveryv3.DeltaDiscoveryRequest) {
	for name, version := range q.GetInitialResourceVersions() {
		st.has[name] = version
	}
	for _, name := range q.GetResourceNamesSubscribe() {
		if name == "*" {
			st.all = true
			continue
		}
		st.names[name] = true
		st.sent = -1
	}
	for _, name := range q.GetResourceNamesUnsubscribe() {
		delete(st.names, name)
		delete(st.has, name)
		st.all = st.all && name != "*"
	}
}

// difference is what a client does not have yet, nil when it has all.
func (o *offered) difference(url string, st *deltaState, stream int) *discoveryv3.DeltaDiscoveryResponse {
	if o.version == st.sent {
		return nil
	}
	first := st.sent == -1
	st.sent = o.version
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, SystemVersionInfo: strconv.Itoa(o.version), Nonce: fmt.Sprintf("v%d.%d", o.version, stream)}
	for name, x := range o.resources {
		if (st.all || st.names[name]) && st.has[name] != x.GetVersion() {
			st.has[name] = x.GetVersion()
			r.Resources = append(r.Resources, x)
		}
	}
	for name := range st.has {
		if o.resources[name] == nil {
			delete(st.has, name)
			r.RemovedResources = append(r.RemovedResources, name)
		}
	}
	for name := range st.names {
		if o.absent && first && o.resources[name] == nil && !slices.Contains(r.RemovedResources, name) {
			r.RemovedResources = append(r.RemovedResources, name)
		}
	}
	slices.SortFunc(r.Resources, func(a, b *discoveryv3.Resource) int { return strings.Compare(a.GetName(), b.GetName()) })
	slices.Sort(r.RemovedResources)
	r.Resources = append(r.Resources, o.also...)
	r.SystemVersionInfo, r.Nonce = cmp.Or(o.says[0], r.GetSystemVersionInfo()), cmp.Or(o.says[1], r.GetNonce())
	return r
}
