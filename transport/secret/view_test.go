package secret

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/resource"
)

func TestTicketKeys(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 80) }
	s := NewStore(Options{})
	p := &resource.Problems{}
	slot := s.View().TicketKeys(&tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{octets(key(1)), octets(key(2))}}, "k", p)
	if slot == nil || p.Len() > 0 {
		t.Fatal(p.All())
	}
	if got, want := slot.Load().Keys, [][32]byte{sha256.Sum256(key(1)), sha256.Sum256(key(2))}; !slices.Equal(got, want) {
		t.Errorf("keys %x, want %x", got, want)
	}
	for at, m := range map[string]*tlsv3.TlsSessionTicketKeys{
		"k.keys":    {},
		"k.keys[1]": {Keys: []*corev3.DataSource{octets(key(1)), octets(key(2)[1:])}},
		"k.keys[0]": {Keys: []*corev3.DataSource{text(append(key(1), '\n'))}},
	} {
		p := &resource.Problems{}
		if s.View().TicketKeys(m, "k", p) != nil {
			t.Error("bad keys were taken")
		}
		wantProblem(t, p, at, "session ticket key")
	}
}

func TestGenericSecrets(t *testing.T) {
	s := NewStore(Options{})
	st := static(t, s, &tlsv3.Secret{Name: "g", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: text([]byte("one")), Secrets: map[string]*corev3.DataSource{"b": text([]byte("two")), "a": text([]byte("three"))},
	}}})
	g := s.View(st).NamedGeneric(ref("g"), "r", &resource.Problems{}).Load()
	if string(g.Secret) != "one" || len(g.Secrets) != 2 || string(g.Secrets["b"]) != "two" || string(g.Secrets["a"]) != "three" {
		t.Errorf("%q", g)
	}
	for at, m := range map[string]*tlsv3.GenericSecret{
		"s.generic_secret":              {},
		`s.generic_secret.secrets["x"]`: {Secrets: map[string]*corev3.DataSource{"x": file("/nowhere/x")}},
	} {
		p := &resource.Problems{}
		if s.Compile(&tlsv3.Secret{Name: "g", Type: &tlsv3.Secret_GenericSecret{GenericSecret: m}}, "s", p) != nil {
			t.Error("a bad secret was taken")
		}
		wantProblem(t, p, at, "")
	}
}

func TestNamesOfSecrets(t *testing.T) {
	s := NewStore(Options{})
	view := s.View(static(t, s, certSecret("cert", inlined(leaf()))), static(t, s, trustSecret("ca", &tlsv3.CertificateValidationContext{TrustedCa: text(ca().PEM())})))
	view.Break("bad")
	p := &resource.Problems{}
	if slot := view.NamedKeyPair(ref("cert"), "r", p, Use[KeyPair]{}); slot == nil || slot.Name() != "cert" || slot.Load() == nil {
		t.Fatalf("no certificate: %v", p.All())
	}
	if slot := view.NamedValidation(ref("ca"), "q", p, Use[Validation]{}); slot == nil || slot.Load() == nil {
		t.Fatalf("no validation context: %v", p.All())
	}
	for _, tt := range []struct {
		ref            *tlsv3.SdsSecretConfig
		at, text, hint string
	}{
		{ref("other"), "r.name", `unknown secret "other"`, "define it under static_resources.secrets; there are cert"},
		{ref("bad"), "r.name", `unknown secret "bad"`, "it is defined, and has errors of its own"},
		{ref("ca"), "r.name", `secret "ca" is a validation_context, not a tls_certificate`, "name a secret that has a tls_certificate"},
		{ref(""), "r.name", "a secret needs a name", "name a secret under static_resources.secrets"},
		{&tlsv3.SdsSecretConfig{Name: "cert", SdsConfig: &corev3.ConfigSource{}}, "r.sds_config", "not supported", noSDS},
	} {
		p := &resource.Problems{}
		if view.NamedKeyPair(tt.ref, "r", p, Use[KeyPair]{}) != nil {
			t.Errorf("%v has a slot", tt.ref)
		}
		wantProblem(t, p, tt.at, tt.text)
		if got := p.All()[0].Hint; got != tt.hint {
			t.Errorf("hint %q, want %q", got, tt.hint)
		}
	}
	want := []Ref{{TLSCertificate, "cert", "r"}, {ValidationContext, "ca", "q"}}
	if !slices.Equal(view.Used(), want) || view.Fresh().Used() != nil {
		t.Errorf("used %v, want %v", view.Used(), want)
	}
	p = &resource.Problems{}
	s.View().Check(view.Used(), p)
	if p.Len() != 2 || p.All()[1].Path != "q.name" {
		t.Errorf("problems %v", p.All())
	}
	view.Fresh().Check(view.Used(), p)
	if p.Len() != 2 {
		t.Errorf("more problems: %v", p.All()[2:])
	}
}

func TestSecretsWithoutNameOrContent(t *testing.T) {
	for at, m := range map[string]*tlsv3.Secret{"s": {Name: "x"}, "s.name": certSecret("", inlined(leaf()))} {
		p := &resource.Problems{}
		if NewStore(Options{}).Compile(m, "s", p) != nil {
			t.Error("taken")
		}
		wantProblem(t, p, at, "secret ")
	}
}

func TestAChangedSecretIsInForceWhenItIsPublished(t *testing.T) {
	s := NewStore(Options{})
	one, two := leaf("one"), leaf("two")
	first := static(t, s, certSecret("x", inlined(one)))
	slot := s.View(first).NamedKeyPair(ref("x"), "r", &resource.Problems{}, Use[KeyPair]{})
	second := static(t, s, certSecret("x", inlined(two)))
	if s.View(second).NamedKeyPair(ref("x"), "r", &resource.Problems{}, Use[KeyPair]{}) != slot {
		t.Fatal("another slot")
	}
	is := func(name string) {
		t.Helper()
		if got := slot.Load().Names; !slices.Equal(got, []string{name}) {
			t.Errorf("certificate for %q, want %q", got, name)
		}
	}
	is("one")
	second.Publish()
	is("two")
	first.Publish() // taken back
	is("one")
	second.Publish()
	second.Publish()
	is("two")
	if shown := s.Shown(); len(shown) != 1 || shown[0].KeyPair != slot.Load() || shown[0].Name != "x" || shown[0].Path != "secrets[0].tls_certificate" {
		t.Errorf("shown: %+v", shown)
	}
	if end, any := s.FirstExpiry(); !any || !end.Equal(two.Leaf.NotAfter) {
		t.Errorf("first expiry %v, %v", end, any)
	}
	first.Publish()
}

func TestCombinedValidationContexts(t *testing.T) {
	s, a, b := NewStore(Options{}), ca(), ca()
	san := func(name string) *tlsv3.SubjectAltNameMatcher {
		return &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}}}
	}
	m := &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext: &tlsv3.CertificateValidationContext{
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san("default")}, VerifyCertificateHash: []string{"one"},
		},
		ValidationContextSdsSecretConfig: ref("ca"),
	}
	base := func(of []byte) *tlsv3.Secret {
		return trustSecret("ca", &tlsv3.CertificateValidationContext{
			TrustedCa: text(of), VerifyCertificateHash: []string{"two"}, AllowExpiredCertificate: true,
		})
	}
	first := static(t, s, base(a.PEM()))
	p := &resource.Problems{}
	view := s.View(first)
	slot := view.CombinedValidation(m, "c", p, Use[Validation]{})
	if slot == nil || p.Len() > 0 {
		t.Fatal(p.All())
	}
	if got := view.Used(); len(got) != 1 || got[0] != (Ref{ValidationContext, "ca", "c.validation_context_sds_secret_config"}) {
		t.Errorf("used %v", got)
	}
	v := slot.Load()
	if !v.Roots[0].Equal(a.Certificate()) || len(v.Message.GetMatchTypedSubjectAltNames()) != 1 || !v.Message.GetAllowExpiredCertificate() ||
		!slices.Equal(v.Message.GetVerifyCertificateHash(), []string{"one", "two"}) {
		t.Errorf("merged: %v", v.Message)
	}
	second := static(t, s, base(b.PEM()))
	if slot.Load() != v {
		t.Error("changed before it was published")
	}
	second.Publish()
	if !slot.Load().Roots[0].Equal(b.Certificate()) {
		t.Error("the old authority is still trusted")
	}
	first.Publish()
	if !slot.Load().Roots[0].Equal(a.Certificate()) {
		t.Error("the old authority is not trusted again")
	}
	m.ValidationContextSdsSecretConfig = ref("none")
	if s.View(first).CombinedValidation(m, "c", p, Use[Validation]{}) != nil {
		t.Error("combined with nothing")
	}
	wantProblem(t, p, "c.validation_context_sds_secret_config.name", `unknown secret "none"`)
}

func TestReadData(t *testing.T) {
	b, err := NewStore(Options{}).View().ReadData(text([]byte("x")))
	if err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := NewStore(Options{}).View().ReadData(nil); err == nil {
		t.Error("nothing was read")
	}
}

func TestSupportNamesEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
