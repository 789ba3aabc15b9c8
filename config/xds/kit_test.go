package xds

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
	}
}

// allFields is the support of every field of the messages of all kinds.
func allFields() resource.Support {
	s := resource.Support{}
	for i := range kinds {
		addFields(s, kinds[i].message().ProtoReflect().Descriptor())
	}
	return s
}

func addFields(s resource.Support, d protoreflect.MessageDescriptor) {
	if _, ok := s[d.FullName()]; ok {
		return
	}
	f := resource.Fields{}
	s[d.FullName()] = f
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f.Yes(string(fd.Name()))
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		if fd.Message() != nil {
			addFields(s, fd.Message())
		}
	}
}

// make returns a resource of a kind whose content is a number.
func (k *kind) make(name string, n int) proto.Message {
	text := fmt.Sprint("n", n)
	switch k.name {
	case resource.Cluster:
		return &clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(time.Duration(n) * time.Second)}
	case resource.Endpoint:
		policy := &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(uint32(n))}
		return &endpointv3.ClusterLoadAssignment{ClusterName: name, Policy: policy}
	case resource.Listener:
		return &listenerv3.Listener{Name: name, PerConnectionBufferLimitBytes: wrapperspb.UInt32(uint32(n))}
	case resource.Scope:
		return &routev3.ScopedRouteConfiguration{Name: name, RouteConfigurationName: text, Key: &routev3.ScopedRouteConfiguration_Key{
			Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{
				{Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name}},
			},
		}}
	case resource.Route:
		return &routev3.RouteConfiguration{Name: name, MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(uint32(n))}
	case resource.VHost:
		return &routev3.VirtualHost{Name: name, Domains: []string{text}}
	case resource.Secret:
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
			Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
		}}}
	case resource.Filter:
		return &corev3.TypedExtensionConfig{Name: name, TypedConfig: anyOf(wrapperspb.UInt32(uint32(n)))}
	default:
		fields := map[string]*structpb.Value{"n": structpb.NewNumberValue(float64(n))}
		return &runtimev3.Runtime{Name: name, Layer: &structpb.Struct{Fields: fields}}
	}
}

func anyOf(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

// body returns a serialized resource; bad has a field the API does not have.
func (k *kind) body(name string, n int, bad bool) *anypb.Any {
	a := anyOf(k.make(name, n))
	if bad {
		a.Value = protowire.AppendVarint(protowire.AppendTag(a.Value, 1900, protowire.VarintType), 1)
	}
	return a
}

// A user is a user of one resource or collection, which remembers what it was given.
type user struct {
	watch *subscription.Watch
	mu    sync.Mutex
	have  map[string]proto.Message // by name
	given int                      // how often something was compiled
	gone  int
}

func (u *user) content(name string) proto.Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.have[name]
}

func (u *user) compiled() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.given
}

// A rig is a hub with a client whose sources a test plays.
type rig struct {
	t      testing.TB
	hub    *subscription.Hub
	stats  *stats.Store
	client *Client
	cs     *corev3.ConfigSource
	source subscription.Source
}

func newRig(t testing.TB, o Options) *rig {
	r := &rig{t: t, stats: stats.NewStore(stats.Options{}), cs: adsSource()}
	r.hub = subscription.New(subscription.Options{})
	o.Hub, o.Stats, o.RejectUnknown = r.hub, r.stats, true
	if o.Support == nil {
		o.Support = allFields()
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.client, r.source = c, subscription.NewSource(r.cs)
	return r
}

// use makes a resource, or a collection, wanted.
func (r *rig) use(kind, name string) *user {
	u := &user{have: map[string]proto.Message{}}
	key := resource.Key{Type: kind, Name: name}
	su := subscription.User{Prepare: func(x *resource.Resource, p *resource.Problems) func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.given++
		return func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.have[x.Name] = x.Message
		}
	}, Removed: func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.gone++
		clear(u.have)
	}}
	if subscription.IsCollection(key) {
		su = subscription.User{Apply: func(d subscription.Delta) []resource.Rejection {
			u.mu.Lock()
			defer u.mu.Unlock()
			for _, x := range d.Set {
				u.given++
				u.have[x.Name] = x.Message
			}
			for _, name := range d.Remove {
				u.gone++
				delete(u.have, name)
			}
			return nil
		}}
	}
	p := resource.NewProblems("")
	u.watch = r.hub.Watch(r.cs, key, "", p, su)
	if u.watch == nil {
		r.t.Fatalf("no watch: %v", p.All())
	}
	u.watch.Hold()
	return u
}

// hear gives a protocol what has changed of what is wanted, as the goroutine of its stream does.
func (r *rig) hear(p protocol) {
	r.client.sort()
	l := r.client.ledgerOf(r.source)
	for i := range kinds {
		for _, w := range l.news(&kinds[i]) {
			p.want(w)
			if w.On {
				r.client.replay(l, w)
			}
		}
	}
}

// give plays a message from the control plane and returns what was rejected.
func (r *rig) give(p protocol, m proto.Message) []resource.Rejection {
	x := p.read(m)
	if x == nil {
		return nil
	}
	rejected := r.client.take(r.source, x)
	r.hear(p)
	p.settle(x, rejected)
	return rejected
}

// A said is what a request says, whatever the protocol.
type said struct {
	kind                 *kind
	version, nonce, nack string
	node                 string
	names, gone          []string
	versions             map[string]string
}

func hearNext(p protocol) *said {
	m, k := p.next(nil)
	switch x := m.(type) {
	case *discoveryv3.DiscoveryRequest:
		return &said{kind: k, version: x.GetVersionInfo(), nonce: x.GetResponseNonce(), nack: x.GetErrorDetail().GetMessage(),
			node: x.GetNode().GetId(), names: x.GetResourceNames()}
	case *discoveryv3.DeltaDiscoveryRequest:
		return &said{kind: k, nonce: x.GetResponseNonce(), nack: x.GetErrorDetail().GetMessage(), node: x.GetNode().GetId(),
			names: x.GetResourceNamesSubscribe(), gone: x.GetResourceNamesUnsubscribe(), versions: x.GetInitialResourceVersions()}
	}
	return nil
}

// quiet fails if there is something to say.
func quiet(t *testing.T, p protocol) {
	t.Helper()
	if s := hearNext(p); s != nil {
		t.Fatalf("another request: %+v", s)
	}
}

func sameNames(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}
