package secret

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A View is what the configuration that is being compiled may use: the slots of its inline secrets, made here, and those of the secrets it
// names, static ones or with an sds_config. The latter have no value until their source has delivered one. It remembers which were named.
// Used by one compilation at a time. Its methods return nil after they have reported a problem.
type View struct {
	store   *Store
	statics map[string]*Static // shared with the views that were made of this one; not modified
	broken  map[string]bool    // as statics: secrets that are defined and have errors
	used    []Ref
	watches []*subscription.Watch
}

// View returns a view of the given static secrets and nothing else.
func (s *Store) View(statics ...*Static) *View {
	v := &View{store: s, statics: make(map[string]*Static, len(statics)), broken: map[string]bool{}}
	for _, st := range statics {
		v.statics[st.id.name] = st
	}
	return v
}

// Break notes that a secret is defined and has errors of its own, for the hint where it is named.
func (v *View) Break(name string) { v.broken[name] = true }

// Fresh returns a view of the same secrets of which none was named yet. It may be used at the same time as v and others that come of it.
func (v *View) Fresh() *View { return &View{store: v.store, statics: v.statics, broken: v.broken} }

// Used is which static secrets were named, in order.
func (v *View) Used() []Ref { return v.used }

// Watches are those of the secrets named that a control plane delivers. Whoever compiles holds them for as long as the configuration is in
// force or warms.
func (v *View) Watches() []*subscription.Watch { return v.watches }

// Check reports those of used, which may be of another view, that there is no secret for.
func (v *View) Check(used []Ref, p *resource.Problems) {
	for _, r := range used {
		v.find(r, p)
	}
}

// ReadData returns what a data source has, a file, an environment variable or what is inline. The bytes are read only.
func (v *View) ReadData(src *corev3.DataSource) ([]byte, error) { return v.store.read(src) }

// KeyPair returns the slot of an inline certificate with its key.
func (v *View) KeyPair(m *tlsv3.TlsCertificate, at resource.Path, p *resource.Problems) *Slot[KeyPair] {
	return newInline(v.store, TLSCertificate, at, p, nil, keyPairPlan(v.store, m))
}

// Validation returns the slot of an inline validation context.
func (v *View) Validation(m *tlsv3.CertificateValidationContext, at resource.Path, p *resource.Problems) *Slot[Validation] {
	return checkTrust(newInline(v.store, ValidationContext, at, p, nil, validationPlan(v.store, m)), at, p)
}

// CombinedValidation returns the slot of a validation context with that of a secret merged into it: what the secret has replaces what is
// single, and is added to lists. use is of the whole.
func (v *View) CombinedValidation(m *tlsv3.CommonTlsContext_CombinedCertificateValidationContext, at resource.Path,
	p *resource.Problems, use Use[Validation],
) *Slot[Validation] {
	ref, place := m.GetValidationContextSdsSecretConfig(), at.Field("validation_context_sds_secret_config")
	if ref.GetSdsConfig() != nil {
		return combined(v, m.GetDefaultValidationContext(), ref, place, p, use)
	}
	base := named(v, ValidationContext, ref, place, p, Use[Validation]{})
	if base == nil {
		return nil
	}
	at = at.Field("default_validation_context")
	return checkTrust(newInline(v.store, ValidationContext, at, p, base, combinedPlan(v.store, m.GetDefaultValidationContext(), base)), at, p)
}

// TicketKeys returns the slot of inline session ticket keys.
func (v *View) TicketKeys(m *tlsv3.TlsSessionTicketKeys, at resource.Path, p *resource.Problems) *Slot[TicketKeys] {
	return newInline(v.store, SessionTicketKeys, at, p, nil, ticketKeysPlan(m))
}

// NamedKeyPair returns the slot of a secret that is a certificate.
func (v *View) NamedKeyPair(ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems, use Use[KeyPair]) *Slot[KeyPair] {
	return named(v, TLSCertificate, ref, at, p, use)
}

// NamedValidation returns the slot of a secret that is a validation context.
func (v *View) NamedValidation(ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems, use Use[Validation]) *Slot[Validation] {
	fits := use
	fits.Fits = func(x *Validation, at resource.Path, p *resource.Problems) { _ = x.trusts(at, p) && use.fit(x, at, p) }
	return checkTrust(named(v, ValidationContext, ref, at, p, fits), at, p)
}

// NamedTicketKeys returns the slot of a secret that is session ticket keys.
func (v *View) NamedTicketKeys(ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems, use Use[TicketKeys]) *Slot[TicketKeys] {
	return named(v, SessionTicketKeys, ref, at, p, use)
}

// NamedGeneric returns the slot of a secret of any other kind.
func (v *View) NamedGeneric(ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems) *Slot[Generic] {
	return named(v, GenericSecret, ref, at, p, Use[Generic]{})
}

// newInline makes the slot of a secret that the configuration has inline, perhaps on the base of another.
func newInline[T any](s *Store, kind Kind, at resource.Path, p *resource.Problems, base *Slot[Validation], pl func() plan[T]) *Slot[T] {
	src := &source[T]{store: s, id: id{kind: kind}, at: at, slot: &Slot[T]{}, plan: pl}
	if !src.load(p) {
		return nil
	}
	src.put()
	know(s, src, base)
	return src.slot
}

// named finds the slot of a static secret, or of one that a source delivers.
func named[T any](v *View, kind Kind, ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems, use Use[T]) *Slot[T] {
	if ref.GetSdsConfig() != nil {
		return subscribed(v, kind, ref, at, p, use)
	}
	r := Ref{Kind: kind, Name: ref.GetName(), Path: at}
	st := v.find(r, p)
	if st == nil {
		return nil
	}
	v.used = append(v.used, r)
	src, _ := st.source.(*source[T]) // which it is: the kind says so
	return src.slot
}

// names lists the static secrets of a kind, for hints; "" for none, or too many.
func (v *View) names(kind Kind) string {
	var all []string
	for name, st := range v.statics {
		if st.id.kind == kind {
			all = append(all, name)
		}
	}
	const most = 8
	if len(all) > most {
		return ""
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// find is the static secret that a place names, nil after reporting that there is none of that kind.
func (v *View) find(r Ref, p *resource.Problems) *Static {
	at := r.Path.Field("name")
	if r.Name == "" {
		p.Errorf(at, "name a secret under static_resources.secrets", "a secret needs a name")
		return nil
	}
	st := v.statics[r.Name]
	if st == nil {
		hint := "define it under static_resources.secrets"
		if v.broken[r.Name] {
			hint = "it is defined, and has errors of its own"
		} else if names := v.names(r.Kind); names != "" {
			hint += "; there are " + names
		}
		p.Errorf(at, hint, "unknown secret %q", r.Name)
		return nil
	}
	if st.id.kind != r.Kind {
		p.Errorf(at, fmt.Sprintf("name a secret that has a %s", r.Kind), "secret %q is a %s, not a %s", r.Name, st.id.kind, r.Kind)
		return nil
	}
	return st
}
