package snapshot

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/filter/network/echo"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream"
)

// A world is what a configuration is compiled in: its one transport socket is configured with the name of a secret, and keeps its slot.
type world struct {
	t     *testing.T
	env   extension.Env
	up    upstream.CompileEnv
	store *secret.Store
	slots []*secret.Slot[secret.TicketKeys] // in the order in which they were asked for
	last  *Snapshot
}

// named is the transport socket.
type named struct{}

func (named) Handshake(*conn.Conn) error { return nil }

// namedClient is the one of clusters.
type namedClient struct{}

func (namedClient) Handshake(*conn.Conn, socket.Options) error { return nil }
func (namedClient) Features() socket.Features                  { return socket.Features{} }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: secret.NewStore(secret.Options{})}
	ask := func(env *socket.Env, cfg proto.Message) bool {
		slot := env.Secrets.NamedTicketKeys(cfg.(*tlsv3.SdsSecretConfig), env.Path, env.Problems, secret.Use[secret.TicketKeys]{})
		if slot != nil {
			w.slots = append(w.slots, slot)
		}
		return slot != nil
	}
	registry, err := extension.NewRegistry(extension.Extensions{
		Network: []extension.NetworkFilter{echo.Extension()},
		Transport: []socket.Factory{{
			Name: "named", Config: &tlsv3.SdsSecretConfig{}, Support: secret.Support,
			NewServer: func(env *socket.Env, cfg proto.Message) (socket.Server, error) { ask(env, cfg); return named{}, nil },
			NewClient: func(env *socket.Env, cfg proto.Message) (socket.Client, error) {
				ask(env, cfg)
				return namedClient{}, nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := stats.NewStore(stats.Options{})
	w.env = extension.Env{Stats: all, Log: slog.New(slog.DiscardHandler), Registry: registry, Sockets: registry.Sockets()}
	w.env.Options.Runtime = &extension.Runtime{}
	w.up = upstream.CompileEnv{Stats: all, Sockets: registry.Sockets()}
	return w
}

// keys is a secret of one session ticket key; a bad one where the byte is 0.
func keys(name string, b byte) *resource.Resource {
	size := 80
	if b == 0 {
		size = 79
	}
	m := &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{
		Keys: []*corev3.DataSource{{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: bytes.Repeat([]byte{b}, size)}}},
	}}}
	return made(resource.Key{Type: resource.Secret, Name: name}, m)
}

func made(k resource.Key, m proto.Message) *resource.Resource {
	r, err := resource.New(k, m, "test", resource.Path(k.Name))
	if err != nil {
		panic(err)
	}
	return r
}

func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

// users are a cluster and a listener whose transport sockets name a secret.
func users(name string) []*resource.Resource {
	ts := &corev3.TransportSocket{Name: "named", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&tlsv3.SdsSecretConfig{Name: name})}}
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1},
	}}}
	return []*resource.Resource{
		made(resource.Key{Type: resource.Cluster, Name: "cluster"}, &clusterv3.Cluster{Name: "cluster", TransportSocket: ts}),
		made(resource.Key{Type: resource.Listener, Name: "listener"}, &listenerv3.Listener{
			Name: "listener", Address: address, FilterChains: []*listenerv3.FilterChain{{
				TransportSocket: ts,
				Filters:         []*listenerv3.Filter{{Name: "echo", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(&echov3.Echo{})}}},
			}},
		}),
	}
}

// compile compiles resources after those before, and keeps the snapshot as the last if nothing was rejected.
func (w *world) compile(all ...*resource.Resource) (*Snapshot, []resource.Rejection) {
	w.t.Helper()
	set, err := resource.NewSet(nil, all)
	if err != nil {
		w.t.Fatal(err)
	}
	s, rejected := Compile(w.last, set, &w.env, w.up, w.store)
	w.t.Cleanup(func() {
		for _, c := range s.Clusters.All() {
			c.Close()
		}
	})
	if len(rejected) == 0 {
		w.last = s
	}
	return s, rejected
}

func TestAChangedSecretDoesNotRecompileItsUsers(t *testing.T) {
	w := newWorld(t)
	first, rejected := w.compile(append(users("x"), keys("x", 1))...)
	if len(rejected) > 0 || len(w.slots) != 2 || w.slots[0] != w.slots[1] || w.slots[0].Load() == nil {
		t.Fatalf("%d slots, rejected: %v", len(w.slots), rejected)
	}
	slot, before := w.slots[0], w.slots[0].Load()
	first.PublishSecrets()
	if slot.Load() != before {
		t.Error("another value without a change")
	}
	second, rejected := w.compile(append(users("x"), keys("x", 2))...)
	if len(rejected) > 0 || len(w.slots) != 2 {
		t.Fatalf("%d slots, rejected: %v", len(w.slots), rejected)
	}
	if second.Clusters.Find("cluster") != first.Clusters.Find("cluster") || second.Listeners["listener"] != first.Listeners["listener"] {
		t.Error("a user was compiled anew")
	}
	if slot.Load() != before {
		t.Error("in force before it was published")
	}
	second.PublishSecrets()
	if slot.Load().Keys[0] == before.Keys[0] {
		t.Error("the old value is still in force")
	}
	first.PublishSecrets()
	if slot.Load() != before {
		t.Error("it was not taken back")
	}
}

func TestSecretsThatAreNotThere(t *testing.T) {
	const define, broken = "define it under static_resources.secrets", "it is defined, and has errors of its own"
	want := func(t *testing.T, rejected []resource.Rejection, hint string, keys ...string) {
		t.Helper()
		if len(rejected) != len(keys) {
			t.Fatalf("rejected: %v; want %v", rejected, keys)
		}
		for i, r := range rejected {
			if r.Key.String() != keys[i] {
				t.Errorf("rejected %v, want %s", r.Key, keys[i])
			}
			if p := r.Problems[0]; r.Key.Type != resource.Secret && (!strings.HasSuffix(string(p.Path), "typed_config.name") ||
				p.Message != `unknown secret "x"` || p.Hint != hint) {
				t.Errorf("problem %v, want hint %q", p, hint)
			}
		}
	}
	t.Run("from the beginning", func(t *testing.T) {
		_, rejected := newWorld(t).compile(users("x")...)
		want(t, rejected, define, `cluster "cluster"`, `listener "listener"`)
	})
	t.Run("broken", func(t *testing.T) {
		_, rejected := newWorld(t).compile(append(users("x"), keys("x", 0))...)
		want(t, rejected, broken, `secret "x"`, `cluster "cluster"`, `listener "listener"`)
	})
	t.Run("taken away", func(t *testing.T) {
		w := newWorld(t)
		first, _ := w.compile(append(users("x"), keys("x", 1))...)
		next, rejected := w.compile(users("x")...)
		want(t, rejected, define, `cluster "cluster"`, `listener "listener"`)
		if next.Clusters.Find("cluster") != first.Clusters.Find("cluster") || next.Listeners["listener"] != first.Listeners["listener"] {
			t.Error("the users before are gone")
		}
	})
	t.Run("broken later", func(t *testing.T) {
		w := newWorld(t)
		w.compile(append(users("x"), keys("x", 1))...)
		before := w.slots[0].Load()
		next, rejected := w.compile(append(users("x"), keys("x", 0))...)
		want(t, rejected, "", `secret "x"`)
		next.PublishSecrets()
		if w.slots[0].Load() != before {
			t.Error("another value")
		}
	})
}
