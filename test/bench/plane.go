//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// A plane is a control plane for one proxy: go-control-plane's server over what this program offers. Its own caches do work in proportion to
// what is subscribed for every change, ten thousand names here, and would be what is measured; offers do work in proportion to the change.
type plane struct {
	addr   string
	fleet  *fleet
	server *grpc.Server
	cancel context.CancelFunc
	done   chan struct{} // closed when the server has ended

	mu      sync.Mutex
	offers  map[string]*offer // by type URL; all below guarded by mu
	first   time.Time         // of the first response
	sent    map[string]mark   // the last response of each type
	acked   map[string]string // the version of the last response of each type that was accepted as a whole
	refused []string          // why responses were rejected
	changed chan struct{}     // closed and replaced when something was accepted or rejected
}

// A mark is when a version was sent.
type mark struct {
	version, nonce string
	at             time.Time
}

// An offer is what there is of a type.
type offer struct {
	url     string
	version int
	all     map[string]*discoveryv3.Resource
	due     map[string]bool // not yet sent in their present version
	delta   *deltaWatch     // nil when nobody waits
	world   *worldWatch     // nil when nobody waits
}

// A deltaWatch is a client that waits for changes.
type deltaWatch struct {
	req *discoveryv3.DeltaDiscoveryRequest
	sub cache.Subscription
	to  chan cache.DeltaResponse
}

// A worldWatch is a client that waits for the next version of everything.
type worldWatch struct {
	req *discoveryv3.DiscoveryRequest
	sub cache.Subscription
	to  chan cache.Response
}

// startPlane serves what f has.
func startPlane(f *fleet) (*plane, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &plane{
		addr: ln.Addr().String(), fleet: f, cancel: cancel, done: make(chan struct{}), offers: map[string]*offer{},
		sent: map[string]mark{}, acked: map[string]string{}, changed: make(chan struct{}),
		server: grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20)),
	}
	f.fill(p)
	callbacks := answers{p}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(p.server, &aggregated{
		world: sotw.NewServer(ctx, p, callbacks), delta: delta.NewServer(ctx, p, callbacks),
	})
	go func() { // ends with stop
		_ = p.server.Serve(ln)
		close(p.done)
	}()
	return p, nil
}

// An aggregated is go-control-plane's server of both protocols.
type aggregated struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	world sotw.Server
	delta delta.Server
}

// StreamAggregatedResources implements the state of the world.
func (a *aggregated) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.world.StreamHandler(s, resource.AnyType)
}

// DeltaAggregatedResources implements the incremental protocol.
func (a *aggregated) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.delta.DeltaStreamHandler(s, resource.AnyType)
}

// An answers tells a plane what goes through go-control-plane's server.
type answers struct{ p *plane }

func (a answers) OnStreamOpen(context.Context, int64, string) error      { return nil }
func (a answers) OnStreamClosed(int64, *corev3.Node)                     {}
func (a answers) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }
func (a answers) OnDeltaStreamClosed(int64, *corev3.Node)                {}

func (a answers) OnStreamRequest(_ int64, q *discoveryv3.DiscoveryRequest) error {
	a.p.answered(q.GetTypeUrl(), q.GetResponseNonce(), q.GetErrorDetail().GetMessage())
	return nil
}

func (a answers) OnStreamDeltaRequest(_ int64, q *discoveryv3.DeltaDiscoveryRequest) error {
	a.p.answered(q.GetTypeUrl(), q.GetResponseNonce(), q.GetErrorDetail().GetMessage())
	return nil
}

func (a answers) OnStreamResponse(_ context.Context, _ int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	a.p.sending(r.GetTypeUrl(), r.GetVersionInfo(), r.GetNonce())
}

func (a answers) OnStreamDeltaResponse(_ int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	a.p.sending(r.GetTypeUrl(), r.GetSystemVersionInfo(), r.GetNonce())
}

func (p *plane) stop() {
	p.cancel()
	p.server.Stop()
	<-p.done
}

// sending notes a response that is about to leave.
func (p *plane) sending(url, version, nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.first.IsZero() {
		p.first = now
	}
	p.sent[url] = mark{version, nonce, now}
}

// answered notes what a client says of a response.
func (p *plane) answered(url, nonce, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := p.sent[url]; {
	case nonce == "":
		return
	case reason != "":
		p.refused = append(p.refused, reason)
	case m.nonce == nonce:
		p.acked[url] = m.version
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// prepared returns a resource as it is sent.
func prepared(name, version string, m proto.Message) *discoveryv3.Resource {
	body, err := anypb.New(m)
	if err != nil {
		panic(err) // a message of this program's own that cannot be encoded
	}
	return &discoveryv3.Resource{Name: name, Version: version, Resource: body}
}

// of returns what there is of a type. mu is held.
func (p *plane) of(url string) *offer {
	o := p.offers[url]
	if o == nil {
		o = &offer{url: url, version: 1, all: map[string]*discoveryv3.Resource{}, due: map[string]bool{}}
		p.offers[url] = o
	}
	return o
}

// set gives a resource a new version and sends it to a client of the incremental protocol. It returns the version of the type.
func (p *plane) set(name string, m proto.Message) (version string) {
	url := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
	r := prepared(name, "", m)
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.of(url)
	o.version++
	r.Version = strconv.Itoa(o.version)
	o.all[name] = r
	o.due[name] = true
	o.answerDelta(false)
	return r.Version
}

// again sends everything once more to a client of the state of the world. It returns the version.
func (p *plane) again() (version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := 0
	for _, o := range p.offers {
		next = max(next, o.version+1)
	}
	for _, o := range p.offers {
		o.version = next
		if o.world != nil {
			o.answerWorld()
		}
	}
	return strconv.Itoa(next)
}

// await waits until f holds, which it calls with mu held.
func (p *plane) await(ctx context.Context, f func() bool) error {
	for {
		p.mu.Lock()
		ok, changed, refused := f(), p.changed, slices.Clone(p.refused)
		p.mu.Unlock()
		switch {
		case len(refused) > 0:
			return fmt.Errorf("rejected: %s", refused[0])
		case ok:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// CreateDeltaWatch implements go-control-plane's ConfigWatcher.
func (p *plane) CreateDeltaWatch(q *discoveryv3.DeltaDiscoveryRequest, sub cache.Subscription, to chan cache.DeltaResponse) (func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.of(q.GetTypeUrl())
	w := &deltaWatch{q, sub, to}
	o.delta = w
	fresh := q.GetResponseNonce() == ""
	if fresh && sub.IsWildcard() {
		for name := range o.all {
			o.due[name] = true
		}
	}
	for _, name := range q.GetResourceNamesSubscribe() {
		if o.all[name] != nil {
			o.due[name] = true
		}
	}
	if len(o.due) > 0 || fresh {
		o.answerDelta(fresh)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if o.delta == w {
			o.delta = nil
		}
	}, nil
}

// answerDelta sends what is due to who waits for it; the first answer is one even if there is nothing. mu is held.
func (o *offer) answerDelta(first bool) {
	w := o.delta
	if w == nil {
		return
	}
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: o.url, SystemVersionInfo: strconv.Itoa(o.version)}
	subscribed := w.sub.SubscribedResources()
	for name := range o.due {
		if _, ok := subscribed[name]; ok || w.sub.IsWildcard() {
			r.Resources = append(r.Resources, o.all[name])
		}
	}
	clear(o.due)
	if len(r.Resources) == 0 && !first {
		return
	}
	o.delta = nil
	w.to <- &cache.DeltaPassthroughResponse{DeltaRequest: w.req, DeltaDiscoveryResponse: r, NextVersionMap: w.sub.ReturnedResources()}
}

// CreateWatch implements go-control-plane's ConfigWatcher.
func (p *plane) CreateWatch(q *discoveryv3.DiscoveryRequest, sub cache.Subscription, to chan cache.Response) (func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.of(q.GetTypeUrl())
	w := &worldWatch{q, sub, to}
	o.world = w
	known, missing := sub.ReturnedResources(), false
	for name := range sub.SubscribedResources() {
		if _, ok := known[name]; !ok {
			missing = true
			break
		}
	}
	if missing || q.GetVersionInfo() != strconv.Itoa(o.version) {
		o.answerWorld()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if o.world == w {
			o.world = nil
		}
	}, nil
}

// answerWorld sends all that is subscribed to who waits for it. mu is held.
func (o *offer) answerWorld() {
	w := o.world
	o.world = nil
	r := &discoveryv3.DiscoveryResponse{TypeUrl: o.url, VersionInfo: strconv.Itoa(o.version)}
	returned := map[string]string{}
	send := func(name string) {
		if x := o.all[name]; x != nil {
			r.Resources = append(r.Resources, x.GetResource())
		}
		returned[name] = r.GetVersionInfo()
	}
	if w.sub.IsWildcard() {
		for name := range o.all {
			send(name)
		}
	} else {
		for name := range w.sub.SubscribedResources() {
			send(name)
		}
	}
	w.to <- &cache.PassthroughResponse{Request: w.req, DiscoveryResponse: r, ReturnedResources: returned}
}
