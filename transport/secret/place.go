package secret

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A place is one that names a secret which a source delivers. It can refuse versions for everybody.
type place struct {
	name      string // of the secret
	at        resource.Path
	compiling bool // what is wrong with the version in force is the place's own problem
}

// watch makes the place wait for versions. prepare says what one is to the place; nil after reporting why it does not fit.
func (l *place) watch(v *View, shared *subscription.Watch, ref *tlsv3.SdsSecretConfig, p *resource.Problems,
	prepare func(r *resource.Resource, p *resource.Problems) (commit func()),
) bool {
	before := p.Len()
	l.compiling = true
	w := v.store.o.Hub.Watch(ref.GetSdsConfig(), shared.Key(), l.at, p, subscription.User{
		Prepare: func(r *resource.Resource, p *resource.Problems) func() {
			if !l.compiling {
				return prepare(r, p)
			}
			q := resource.NewProblems("")
			commit := prepare(r, q)
			l.own(q, p)
			return commit
		},
	})
	l.compiling = false
	if w == nil || p.Len() > before && p.HasErrors() {
		return false
	}
	v.watches = append(v.watches, shared, w)
	return true
}

// own reports errors of the secret as the place's.
func (l *place) own(q, p *resource.Problems) {
	for _, x := range q.All() {
		if x.Severity == resource.Error {
			p.Errorf(l.at.Field("name"), x.Hint, "secret %q does not fit: %s: %s", l.name, x.Path, x.Message)
		}
	}
}

// subscribed returns the slot of a secret that a source delivers; nil after reporting why it cannot be had.
func subscribed[T any](v *View, kind Kind, ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems, use Use[T]) *Slot[T] {
	d := dynamicOf[T](v.store, kind, ref, at, p)
	if d == nil {
		return nil
	}
	seen := d.src.slot.Load() // guarded by the topic, once it is watched
	l := &place{name: ref.GetName(), at: at}
	ok := l.watch(v, d.watch, ref, p, func(r *resource.Resource, p *resource.Problems) func() {
		_, value := d.prepare(r, p)
		if value == nil || !use.fit(value, d.src.at, p) {
			return nil
		}
		return func() {
			if value != seen {
				seen = value
				use.changed()
			}
		}
	})
	if !ok {
		return nil
	}
	return d.src.slot
}

// combined returns the slot of defaults with a validation context merged into them that a source delivers. It has no value without.
func combined(v *View, defaults *tlsv3.CertificateValidationContext, ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems,
	use Use[Validation],
) *Slot[Validation] {
	d := dynamicOf[Validation](v.store, ValidationContext, ref, at, p)
	if d == nil {
		return nil
	}
	src := &source[Validation]{store: v.store, id: id{kind: ValidationContext}, at: at, slot: &Slot[Validation]{}}
	l := &place{name: ref.GetName(), at: at}
	ok := l.watch(v, d.watch, ref, p, func(r *resource.Resource, p *resource.Problems) func() {
		_, value := d.prepare(r, p)
		if value == nil {
			return nil
		}
		pl, q := planCombined(v.store, defaults, value), resource.NewProblems("")
		made := &source[Validation]{store: v.store, at: d.src.at, plan: func() plan[Validation] { return pl }}
		if !made.load(q) || !made.value.trusts(made.at, q) || !use.fit(made.value, made.at, q) {
			p.Append(q)
			return nil
		}
		return func() { // warnings were given with the secret
			if src.adopt(made, true) {
				use.changed()
			}
		}
	})
	if !ok {
		return nil
	}
	return src.slot
}
