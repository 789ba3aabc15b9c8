package secret

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A feed is a source that the test plays, and a store that it delivers to.
type feed struct {
	*Store
	t       testing.TB
	hub     *subscription.Hub
	cs      *corev3.ConfigSource
	stats   *stats.Store
	version int
}

func newFeed(t testing.TB, edit func(*Options)) *feed {
	t.Helper()
	f := &feed{t: t, hub: subscription.New(subscription.Options{}), stats: stats.NewStore(stats.Options{})}
	f.cs = &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, InitialFetchTimeout: durationpb.New(0),
	}
	o := Options{Hub: f.hub, Stats: f.stats}
	if edit != nil {
		edit(&o)
	}
	f.Store = NewStore(o)
	return f
}

// ref names a secret that the feed delivers.
func (f *feed) ref(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: f.cs}
}

// resource is a secret as the source sends it.
func (f *feed) resource(m *tlsv3.Secret) *resource.Resource {
	f.t.Helper()
	f.version++
	r, err := resource.New(resource.Key{Type: resource.Secret, Name: m.GetName()}, m, "test", "")
	if err != nil {
		f.t.Fatal(err)
	}
	r.Version = strings.Repeat("v", f.version)
	return r
}

// send delivers a secret that somebody wants.
func (f *feed) send(m *tlsv3.Secret) []resource.Problem {
	f.t.Helper()
	problems, asked := f.hub.Deliver(subscription.NewSource(f.cs), f.resource(m))
	if !asked {
		f.t.Fatalf("nobody wants %q", m.GetName())
	}
	return problems
}

// accepted delivers a secret that has to be taken.
func (f *feed) accepted(m *tlsv3.Secret) {
	f.t.Helper()
	if problems := f.send(m); len(problems) > 0 {
		f.t.Fatal(problems)
	}
}

// refused delivers a secret that must not be.
func (f *feed) refused(m *tlsv3.Secret, at, part string) {
	f.t.Helper()
	problems := f.send(m)
	if len(problems) == 0 {
		f.t.Fatalf("taken; want %s: %s", at, part)
	}
	if got := problems[0]; string(got.Path) != at || !strings.Contains(got.Message, part) {
		f.t.Errorf("problem %s\nwant %s: ...%s...", got, at, part)
	}
}

// hold holds what a view has named until the test ends, or the function is called.
func (f *feed) hold(v *View) (release func()) {
	f.t.Helper()
	if len(v.Watches()) == 0 {
		f.t.Fatal("nothing is watched")
	}
	for _, w := range v.Watches() {
		w.Hold()
	}
	done := false
	release = func() {
		if !done {
			done = true
			for _, w := range v.Watches() {
				w.Release()
			}
		}
	}
	f.t.Cleanup(release)
	return release
}

// pair names a certificate and holds it.
func (f *feed) pair(name string) *Slot[KeyPair] {
	f.t.Helper()
	v, p := f.View(), resource.NewProblems("")
	slot := v.NamedKeyPair(f.ref(name), "c", p, Use[KeyPair]{})
	if slot == nil || p.Len() > 0 {
		f.t.Fatal(p.All())
	}
	f.hold(v)
	return slot
}

// wants is what has come to be wanted since it was last called: "+name -name".
func (f *feed) wants() string {
	var out []string
	for _, w := range f.hub.Changes() {
		sign := "-"
		if w.On {
			sign = "+"
		}
		out = append(out, sign+w.Name)
	}
	return strings.Join(out, " ")
}

// count is a series of a secret's subscription.
func (f *feed) count(name string) int64 {
	n, _ := f.stats.Value("sds." + name)
	return n
}

// ready says whether all watches of a view are.
func ready(v *View) bool {
	for _, w := range v.Watches() {
		select {
		case <-w.Ready():
		default:
			return false
		}
	}
	return true
}

// validity is a validation context that trusts an authority.
func validity(pem []byte) *tlsv3.CertificateValidationContext {
	return &tlsv3.CertificateValidationContext{TrustedCa: text(pem)}
}

// ticketSecret is session ticket keys of which there is one.
func ticketSecret(name string, key []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_SessionTicketKeys{
		SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{octets(key)}},
	}}
}

// within limits how long the source is waited for.
func (f *feed) within(d time.Duration) { f.cs.InitialFetchTimeout = durationpb.New(d) }
