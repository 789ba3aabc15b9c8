package secret

import (
	"bytes"
	"crypto/x509"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/test/certs"
)

func TestADeliveredSecretComesLate(t *testing.T) {
	f := newFeed(t, nil)
	v, p := f.View(), resource.NewProblems("")
	changes := 0
	slot := v.NamedKeyPair(f.ref("x"), "c", p, Use[KeyPair]{Changed: func() { changes++ }})
	if slot == nil || p.Len() > 0 || slot.Name() != "x" || slot.Load() != nil || v.Used() != nil {
		t.Fatalf("slot %v, used %v, problems %v", slot, v.Used(), p.All())
	}
	if got := f.wants(); got != "" {
		t.Errorf("wanted before it is held: %s", got)
	}
	release := f.hold(v)
	if got := f.wants(); got != "+x" || ready(v) || slot.Load() != nil {
		t.Errorf("wanted: %q, ready: %v", got, ready(v))
	}
	one, two := leaf("one"), leaf("two")
	f.accepted(certSecret("x", inlined(one)))
	first := slot.Load()
	if !ready(v) || first == nil || !first.Certificate.Leaf.Equal(one.Leaf) || changes != 1 {
		t.Fatalf("ready: %v, value %v, %d changes", ready(v), first, changes)
	}
	f.accepted(certSecret("x", inlined(one))) // another version of the same
	if slot.Load() != first || changes != 1 {
		t.Error("an unchanged secret has changed something")
	}
	f.accepted(certSecret("x", inlined(two)))
	if !slot.Load().Certificate.Leaf.Equal(two.Leaf) || !first.Certificate.Leaf.Equal(one.Leaf) || changes != 2 {
		t.Errorf("not rotated, or a value has changed; %d changes", changes)
	}
	second := slot.Load()
	f.hub.Remove(subscription.NewSource(f.cs), resource.Key{Type: resource.Secret, Name: "x"})
	if slot.Load() != second {
		t.Error("a secret that was removed is no longer in force")
	}
	if a, ok, bad := f.count("x.update_attempt"), f.count("x.update_success"), f.count("x.update_rejected"); a != 3 || ok != 3 || bad != 0 {
		t.Errorf("%d attempts, %d successes, %d rejected", a, ok, bad)
	}
	release()
	if got := f.wants(); got != "-x" || slot.Load() != second {
		t.Errorf("wanted after it was released: %q", got)
	}
	f.hold(v) // once more, with the same content
	f.accepted(certSecret("x", inlined(two)))
	if slot.Load() != second || changes != 2 {
		t.Error("an unchanged secret has changed something when it came again")
	}
}

func TestADeliveredSecretIsAwaitedForSoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, nil)
		f.within(2 * time.Second)
		v := f.View()
		slot := v.NamedTicketKeys(f.ref("keys"), "c", resource.NewProblems(""), Use[TicketKeys]{})
		release := f.hold(v)
		began := time.Now()
		if err := subscription.Wait(t.Context(), v.Watches()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d := time.Since(began); d != 2*time.Second || slot.Load() != nil || f.count("keys.init_fetch_timeout") != 1 {
			t.Errorf("ready after %s; %d timeouts", d, f.count("keys.init_fetch_timeout"))
		}
		f.accepted(ticketSecret("keys", make([]byte, ticketKeySize)))
		if slot.Load() == nil {
			t.Error("too late is not taken")
		}
		release()
	})
}

func TestBadVersionsAreRefused(t *testing.T) {
	a := ca()
	good, other := must(a.Issue(certs.Request{Name: "good"})), must(a.Issue(certs.Request{Name: "other"}))
	old := must(a.Issue(certs.Request{Name: "old", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}))
	f := newFeed(t, nil)
	slot := f.pair("x")
	f.accepted(certSecret("x", inlined(good)))
	value := slot.Load()
	for i, tt := range []struct {
		m        *tlsv3.Secret
		at, text string
	}{
		{certSecret("x", &tlsv3.TlsCertificate{CertificateChain: text(good.PEM()), PrivateKey: text(must(other.KeyPEM()))}),
			"tls_certificate.private_key", "KEY_VALUES_MISMATCH"},
		{certSecret("x", inlined(old)), "tls_certificate.certificate_chain", "has expired"},
		{certSecret("x", &tlsv3.TlsCertificate{CertificateChain: text(good.PEM())}), "tls_certificate.private_key", "private key not set"},
		{certSecret("x", &tlsv3.TlsCertificate{CertificateChain: file("/nowhere/x"), PrivateKey: file("/nowhere/y")}),
			"tls_certificate.certificate_chain", "cannot be read"},
		{trustSecret("x", validity(a.PEM())), "validation_context", `secret "x" is a validation_context, not a tls_certificate`},
		{&tlsv3.Secret{Name: "x"}, "", "no content"},
	} {
		f.refused(tt.m, tt.at, tt.text)
		if slot.Load() != value || f.count("x.update_rejected") != int64(i+1) {
			t.Errorf("%s: the value was replaced, or not counted: %d", tt.text, f.count("x.update_rejected"))
		}
	}
	f.accepted(certSecret("x", inlined(good)))
	if slot.Load() != value {
		t.Error("the good version is another one when it comes again")
	}
	f.accepted(certSecret("x", inlined(other)))
	if !slot.Load().Certificate.Leaf.Equal(other.Leaf) {
		t.Error("a good version after bad ones is not in force")
	}
}

func TestAnExpiredCertificateIsBetterThanNone(t *testing.T) {
	a, now := ca(), time.Now()
	issue := func(from, to time.Duration) *tlsv3.Secret {
		return certSecret("x", inlined(must(a.Issue(certs.Request{Name: "x", NotBefore: now.Add(from), NotAfter: now.Add(to)}))))
	}
	f := newFeed(t, nil)
	slot := f.pair("x")
	warned := func(m *tlsv3.Secret) {
		t.Helper()
		if all := f.send(m); len(all) != 1 || all[0].Severity != resource.Warning || !strings.Contains(all[0].Message, "has expired") {
			t.Errorf("got %v, want a warning", all)
		}
	}
	warned(issue(-3*time.Hour, -2*time.Hour))
	first := slot.Load()
	if first == nil {
		t.Fatal("there is none")
	}
	warned(issue(-2*time.Hour, -time.Hour))
	if slot.Load() == first {
		t.Error("another one does not replace it")
	}
	f.accepted(issue(-time.Hour, time.Hour))
	good := slot.Load()
	f.refused(issue(-2*time.Hour, -time.Hour), "tls_certificate.certificate_chain", "has expired")
	f.refused(issue(time.Hour, 2*time.Hour), "tls_certificate.certificate_chain", "is not valid before")
	if slot.Load() != good {
		t.Error("one that has expired replaces a good one")
	}
}

func TestAManyTimesUsedSecretIsCompiledOnce(t *testing.T) {
	const places = 1000
	reads, changes := 0, 0
	f := newFeed(t, func(o *Options) {
		o.Getenv = func(string) (string, bool) { reads++; return "x", true }
	})
	generic := func(more string) *tlsv3.Secret {
		return &tlsv3.Secret{Name: "g", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
			Secret: env("SECRET"), Secrets: map[string]*corev3.DataSource{"more": text([]byte(more))},
		}}}
	}
	var first *Slot[Generic]
	for range places {
		v, p := f.View(), resource.NewProblems("")
		slot := named(v, GenericSecret, f.ref("g"), "g", p, Use[Generic]{Changed: func() { changes++ }})
		if slot == nil || p.Len() > 0 || first != nil && slot != first {
			t.Fatalf("slot %p, want %p; problems %v", slot, first, p.All())
		}
		first = slot
		f.hold(v)
	}
	for i, more := range []string{"one", "two", "three"} {
		f.accepted(generic(more))
		if reads != i+1 || changes != places*(i+1) || string(first.Load().Secrets["more"]) != more {
			t.Fatalf("%s: %d reads, %d changes", more, reads, changes)
		}
	}
	if n := f.count("g.update_success"); n != 3 {
		t.Errorf("update_success: %d, want 3", n)
	}
	f.pairRefused("g")
	v := f.View()
	if slot := v.NamedGeneric(f.ref("g"), "g", resource.NewProblems("")); slot != first || reads != 3 {
		t.Errorf("a new place: another slot, or %d reads", reads)
	}
}

// pairRefused names as a certificate what is something else.
func (f *feed) pairRefused(name string) {
	f.t.Helper()
	p := resource.NewProblems("")
	if f.View().NamedKeyPair(f.ref(name), "c", p, Use[KeyPair]{}) != nil || p.Len() != 1 || p.All()[0].Path != "c.name" {
		f.t.Errorf("it is no certificate; problems %v", p.All())
	}
}

func TestOneNameForSeveralKinds(t *testing.T) {
	f, a := newFeed(t, nil), ca()
	v, p := f.View(), resource.NewProblems("")
	pair, trust := v.NamedKeyPair(f.ref("x"), "c", p, Use[KeyPair]{}), v.NamedValidation(f.ref("x"), "v", p, Use[Validation]{})
	f.hold(v)
	f.refused(trustSecret("x", validity(a.PEM())), "validation_context", "not a tls_certificate")
	f.refused(certSecret("x", inlined(leaf("x"))), "tls_certificate", "not a validation_context")
	if pair.Load() != nil || trust.Load() != nil || p.Len() > 0 {
		t.Errorf("one of them has a value; problems %v", p.All())
	}
}

func TestStaticAndDeliveredSecretsOfOneName(t *testing.T) {
	f, one, two := newFeed(t, nil), leaf("one"), leaf("two")
	v, p := f.View(static(t, f.Store, certSecret("x", inlined(one)))), resource.NewProblems("")
	is, comes := v.NamedKeyPair(ref("x"), "c", p, Use[KeyPair]{}), v.NamedKeyPair(f.ref("x"), "d", p, Use[KeyPair]{})
	f.hold(v)
	f.accepted(certSecret("x", inlined(two)))
	if !is.Load().Certificate.Leaf.Equal(one.Leaf) || !comes.Load().Certificate.Leaf.Equal(two.Leaf) || p.Len() > 0 || len(v.Used()) != 1 {
		t.Errorf("mixed up; used %v, problems %v", v.Used(), p.All())
	}
	shown := f.Shown()
	if len(shown) != 2 || shown[0].KeyPair != is.Load() || shown[1].KeyPair != comes.Load() || shown[1].Name != "x" || shown[1].Path != "tls_certificate" {
		t.Errorf("shown: %+v", shown)
	}
}

func TestDeliveredValidationContextsAreCombined(t *testing.T) {
	f, one, two := newFeed(t, nil), ca(), ca()
	combine := func(v *View, hash string, use Use[Validation]) *Slot[Validation] {
		p := resource.NewProblems("")
		slot := v.CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tlsv3.CertificateValidationContext{VerifyCertificateHash: []string{hash}},
			ValidationContextSdsSecretConfig: f.ref("ca"),
		}, "v", p, use)
		if slot == nil || p.Len() > 0 || slot.Load() != nil {
			t.Fatalf("slot %v, problems %v", slot, p.All())
		}
		return slot
	}
	changes, v := 0, f.View()
	a, b := combine(v, "a", Use[Validation]{Changed: func() { changes++ }}), combine(v, "b", Use[Validation]{Fits: onlyWith(one)})
	plain := v.NamedValidation(f.ref("ca"), "p", resource.NewProblems(""), Use[Validation]{})
	release := f.hold(v)
	is := func(of *certs.Authority, n int) {
		t.Helper()
		for name, slot := range map[string]*Slot[Validation]{"a": a, "b": b, "": plain} {
			x := slot.Load()
			if !x.Roots[0].Equal(of.Certificate()) {
				t.Errorf("%q trusts another authority", name)
			}
			if got := x.Message.GetVerifyCertificateHash(); name == "" && len(got) > 0 || name != "" && (len(got) != 1 || got[0] != name) {
				t.Errorf("%q has %q", name, got)
			}
		}
		if changes != n {
			t.Errorf("%d changes, want %d", changes, n)
		}
	}
	f.accepted(trustSecret("ca", validity(one.PEM())))
	is(one, 1)
	f.refused(trustSecret("ca", validity(two.PEM())), "validation_context", "another authority")
	is(one, 1)
	f.refused(trustSecret("ca", &tlsv3.CertificateValidationContext{AllowExpiredCertificate: true}), "validation_context", "without trusted CA")
	is(one, 1)
	both := validity(one.PEM())
	both.TrustedCa = text(append(one.PEM(), two.PEM()...))
	f.accepted(trustSecret("ca", both))
	is(one, 2)
	value := a.Load()
	release()
	f.hold(v)
	f.accepted(trustSecret("ca", both))
	if is(one, 2); a.Load() != value {
		t.Error("it has changed without a change")
	}
	late := f.View()
	p := resource.NewProblems("")
	c := late.CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{ValidationContextSdsSecretConfig: f.ref("ca")}, "v", p, Use[Validation]{})
	if f.hold(late); c.Load() == nil || len(c.Load().Roots) != 2 || p.Len() > 0 {
		t.Errorf("a place that comes later has no value at once: %v", p.All())
	}
	if f.View().NamedValidation(f.ref("ca"), "n", p, Use[Validation]{Fits: onlyWith(two)}) != nil {
		t.Error("a place got a version that does not fit")
	}
	wantProblem(t, p, "n.name", `secret "ca" does not fit: validation_context: another authority`)
}

// onlyWith wants validation contexts that begin with an authority.
func onlyWith(a *certs.Authority) func(*Validation, resource.Path, *resource.Problems) {
	return func(v *Validation, at resource.Path, p *resource.Problems) {
		if len(v.Roots) == 0 || !v.Roots[0].Equal(a.Certificate()) {
			p.Errorf(at, "", "another authority")
		}
	}
}

func TestFilesOfDeliveredSecretsAreFollowed(t *testing.T) {
	dir, f := t.TempDir(), newFeed(t, nil)
	one, two, three, four := leaf("one"), leaf("two"), leaf("three"), leaf("four")
	r := run(t, func(o *Options) { o.Hub = f.hub })
	f.Store = r.Store
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	slot := f.pair("x")
	f.accepted(certSecret("x", writePair(t, a, one)))
	if !slot.Load().Certificate.Leaf.Equal(one.Leaf) {
		t.Fatal("another certificate")
	}
	writePair(t, a, two)
	r.becomes(slot, two)
	f.accepted(certSecret("x", filed(a))) // the same message
	r.becomes(slot, two)
	f.accepted(certSecret("x", writePair(t, b, three)))
	r.becomes(slot, three)
	writePair(t, b, four)
	r.becomes(slot, four)

	v, p := f.View(), resource.NewProblems("")
	old, renewed := ca(), ca()
	name := write(t, filepath.Join(dir, "ca.pem"), old.PEM())
	all := v.CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{ValidationContextSdsSecretConfig: f.ref("ca")}, "v", p, Use[Validation]{})
	f.hold(v)
	f.accepted(trustSecret("ca", &tlsv3.CertificateValidationContext{TrustedCa: file(name)}))
	rename(t, name, renewed.PEM())
	eventually(t, "the authority changes", func() bool { return all.Load().Roots[0].Equal(renewed.Certificate()) })
}

func TestSecretsThatNobodyCanDeliver(t *testing.T) {
	p := resource.NewProblems("")
	f := newFeed(t, nil)
	if NewStore(Options{}).View().NamedKeyPair(f.ref("x"), "r", p, Use[KeyPair]{}) != nil {
		t.Error("a slot without a source")
	}
	wantProblem(t, p, "r.sds_config", "not supported")
	if f.View().NamedKeyPair(f.ref(""), "r", p, Use[KeyPair]{}) != nil {
		t.Error("a slot without a name")
	}
	wantProblem(t, p, "r.name", "a secret needs a name")
	hub := subscription.New(subscription.Options{Check: func(_ *corev3.ConfigSource, at resource.Path, p *resource.Problems) {
		p.Errorf(at, "", "no such source")
	}})
	p = resource.NewProblems("")
	v := NewStore(Options{Hub: hub}).View()
	if v.NamedKeyPair(f.ref("x"), "r", p, Use[KeyPair]{}) != nil || v.Watches() != nil || p.Len() != 1 {
		t.Errorf("a slot with a source that does not exist: %v", p.All())
	}
	wantProblem(t, p, "r", "no such source")
}

func TestDeliveredSecretsThatNobodyUsesAreForgotten(t *testing.T) {
	f := newFeed(t, nil)
	func() {
		v := f.View()
		slot := v.NamedKeyPair(f.ref("x"), "c", resource.NewProblems(""), Use[KeyPair]{})
		f.hold(v)()
		f.hold(v) // until the test ends
		f.accepted(certSecret("x", inlined(leaf("x"))))
		if slot.Load() == nil || f.size() != 2 {
			t.Fatalf("%d things are known", f.size())
		}
		runtime.GC()
		if f.size() != 2 {
			t.Error("what is held was forgotten")
		}
	}()
	g := newFeed(t, nil)
	func() {
		v := g.View()
		if v.NamedKeyPair(g.ref("x"), "c", resource.NewProblems(""), Use[KeyPair]{}) == nil {
			t.Fatal("no slot")
		}
		for _, w := range v.Watches() {
			w.Hold()
		}
		g.accepted(certSecret("x", inlined(leaf("x"))))
		for _, w := range v.Watches() {
			w.Release()
		}
	}()
	eventually(t, "it is forgotten", func() bool {
		runtime.GC()
		_, counted := g.stats.Value("sds.x.update_success")
		return g.size() == 0 && !counted
	})
}

// size is how many delivered secrets and sources the store knows.
func (f *feed) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dynamics) + len(f.items)
}

func TestAThousandRotations(t *testing.T) {
	f := newFeed(t, nil)
	slots := []*Slot[KeyPair]{f.pair("x"), f.pair("x")}
	pairs := []*tlsv3.TlsCertificate{inlined(leaf("one")), inlined(leaf("two")), inlined(leaf("three"))}
	first, _ := x509.ParseCertificate(must(certificateDER(pairs[0])))
	for i := range 1000 {
		f.accepted(certSecret("x", pairs[i%len(pairs)]))
		if slots[0].Load() != slots[1].Load() || bytes.Equal(slots[0].Load().Certificate.Leaf.Raw, first.Raw) != (i%len(pairs) == 0) {
			t.Fatalf("rotation %d is not in force", i)
		}
	}
	if f.size() != 2 || len(f.moved) != 1 {
		t.Errorf("%d things are known, %d moved", f.size(), len(f.moved))
	}
}

func TestPlacesWithTheirOwnTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, nil)
		v, p := f.View(), resource.NewProblems("")
		f.within(time.Second)
		short := v.NamedKeyPair(f.ref("x"), "c", p, Use[KeyPair]{})
		f.cs = proto.CloneOf(f.cs)
		f.within(time.Minute)
		long := v.NamedKeyPair(f.ref("x"), "d", p, Use[KeyPair]{})
		release := f.hold(v)
		began := time.Now()
		if err := subscription.Wait(t.Context(), v.Watches()[:2]); err != nil || time.Since(began) != time.Second || ready(v) {
			t.Errorf("%v, after %s; all are ready: %v", err, time.Since(began), ready(v))
		}
		f.accepted(certSecret("x", inlined(leaf("x"))))
		if !ready(v) || short.Load() == nil || short.Load() != long.Load() {
			t.Errorf("%v, %v", short.Load(), long.Load())
		}
		release()
	})
}

// Places come and go while versions do: each has a value as soon as it is held, and no two versions are mixed.
func TestPlacesComeAndGoWhileVersionsDo(t *testing.T) {
	f, a, b := newFeed(t, nil), ca(), ca()
	f.settle(trustSecret("ca", validity(a.PEM())))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { // ends after so many
			for range 50 {
				v, p := f.View(), resource.NewProblems("")
				plain := v.NamedValidation(f.ref("ca"), "v", p, Use[Validation]{})
				all := v.CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{ValidationContextSdsSecretConfig: f.ref("ca")}, "w", p, Use[Validation]{})
				if plain == nil || all == nil || p.Len() > 0 {
					t.Errorf("problems %v", p.All())
					return
				}
				for _, w := range v.Watches() {
					w.Hold()
				}
				if plain.Load() == nil || all.Load() == nil || !ready(v) {
					t.Error("there is no value")
				}
				for _, w := range v.Watches() {
					w.Release()
				}
			}
		})
	}
	for i := range 200 {
		f.accepted(trustSecret("ca", validity([]*certs.Authority{b, a}[i%2].PEM())))
	}
	wg.Wait()
}

// settle delivers the first version of a validation context to a place that stays.
func (f *feed) settle(m *tlsv3.Secret) {
	f.t.Helper()
	v := f.View()
	v.NamedValidation(f.ref(m.GetName()), "first", resource.NewProblems(""), Use[Validation]{})
	f.hold(v)
	f.accepted(m)
}

func certificateDER(m *tlsv3.TlsCertificate) ([]byte, error) {
	chain, err := parseChain([]byte(m.GetCertificateChain().GetInlineString()))
	if err != nil {
		return nil, err
	}
	return chain[0].Raw, nil
}
