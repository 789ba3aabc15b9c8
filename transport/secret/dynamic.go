package secret

import (
	"runtime"
	"sync"
	"weak"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A dynamic is a secret that a source delivers (SDS): one for all places that name it. A version is compiled once, whoever uses it.
type dynamic[T any] struct {
	id    id
	src   *source[T]          // has no value until the first version is in force
	watch *subscription.Watch // puts versions into the slot, and counts them

	mu   sync.Mutex
	hash uint64             // of the version in force, once src has a value; guarded by mu
	last *resource.Resource // what made is of; guarded by mu
	made *source[T]         // compiled, and not in force; nil without; guarded by mu
}

// dynamicOf finds or makes the secret that a place names; nil after reporting why it cannot be had.
func dynamicOf[T any](s *Store, kind Kind, ref *tlsv3.SdsSecretConfig, at resource.Path, p *resource.Problems) *dynamic[T] {
	if s.o.Hub == nil {
		p.Unsupported(at.Field("sds_config"), noSDS)
		return nil
	}
	if ref.GetName() == "" {
		p.Errorf(at.Field("name"), "a source is asked for it by its name", "a secret needs a name")
		return nil
	}
	cs := ref.GetSdsConfig()
	i := id{kind: kind, name: ref.GetName(), from: subscription.NewSource(cs).ID + "\x00" + cs.GetInitialFetchTimeout().String()}
	if d, ok := s.delivered(i).(*dynamic[T]); ok {
		return d
	}
	d := &dynamic[T]{id: i, src: &source[T]{store: s, id: i, at: resource.Path(kind.String()), slot: &Slot[T]{name: i.name}}}
	q := resource.NewProblems("") // what is wrong with the version in force is each place's to report
	d.watch = s.o.Hub.Watch(cs, i.key(), at, q, subscription.User{Prepare: d.version, Stats: d.stats()})
	if d.watch == nil {
		p.Append(q)
		return nil
	}
	return deliver(s, d)
}

// stats returns the statistics of the subscription, which there are for as long as d is in use; nil where nothing is counted.
func (d *dynamic[T]) stats() *subscription.Stats {
	all := d.src.store.o.Stats
	if all == nil {
		return nil
	}
	scope := all.Scope("sds." + d.id.name + ".")
	runtime.AddCleanup(d, (*stats.Scope).Close, scope)
	return subscription.NewStats(scope)
}

// delivered is the *dynamic of an id, nil when nobody uses it.
func (s *Store) delivered(i id) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.dynamics[i]; find != nil {
		return find()
	}
	return nil
}

// deliver makes d the one of its id, unless another goroutine was faster, and returns the one that is.
func deliver[T any](s *Store, d *dynamic[T]) *dynamic[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.dynamics[d.id]; find != nil {
		if have, ok := find().(*dynamic[T]); ok {
			return have
		}
	}
	ref := weak.Make(d)
	s.dynamics[d.id] = func() any {
		if d := ref.Value(); d != nil {
			return d
		}
		return nil
	}
	runtime.AddCleanup(d, s.undelivered, d.id)
	return d
}

// undelivered drops a secret that nobody uses, unless there is another one by now.
func (s *Store) undelivered(i id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.dynamics[i]; find != nil && find() == nil {
		delete(s.dynamics, i)
	}
}

// version is the Prepare of the secret itself.
func (d *dynamic[T]) version(r *resource.Resource, p *resource.Problems) func() {
	made, _ := d.prepare(r, p)
	if made == nil {
		return nil
	}
	return func() {
		d.src.adopt(made, false)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hash, d.last, d.made = r.Hash, nil, nil
	}
}

// prepare compiles a version, unless that was done. It returns its value, nil after reporting what is wrong, and what it was made by,
// nil for the version that is in force.
func (d *dynamic[T]) prepare(r *resource.Resource, p *resource.Problems) (made *source[T], value *T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.src.slot.Load(); now != nil && d.hash == r.Hash {
		return nil, now
	}
	if d.last == r {
		return d.made, d.made.value
	}
	m, ok := r.Message.(*tlsv3.Secret)
	if !ok {
		p.Errorf("", "", "it is not a Secret")
		return nil, nil
	}
	kind, ok := kindOf(m)
	switch {
	case !ok:
		p.Errorf("", noContent, "the secret has no content")
		return nil, nil
	case kind != d.id.kind:
		p.Errorf(resource.Path(kind.String()), "those who use it want a "+d.id.kind.String(),
			"secret %q is a %s, not a %s", d.id.name, kind, d.id.kind)
		return nil, nil
	}
	src := &source[T]{store: d.src.store, id: d.id, at: d.src.at, plan: lenient(planOf[T](d.src.store, m), d.src.slot)}
	if !src.load(p) {
		return nil, nil
	}
	d.last, d.made = r, src
	return src, src.value
}

// lenient makes a plan for a slot take a certificate whose time is over, or has not come, unless the slot has a better one: a listener that
// gets no certificate serves nobody.
func lenient[T any](of func() plan[T], slot *Slot[T]) func() plan[T] {
	return func() plan[T] {
		pl := of()
		build := pl.build
		pl.build = func(in *inputs) (*T, error) {
			have, ok := any(slot.Load()).(*KeyPair)
			in.untimely = ok && (have == nil || timely(have.Certificate.Leaf, "") != nil)
			return build(in)
		}
		return pl
	}
}

// planOf is how a secret of any kind is made of its message; T is the kind's.
func planOf[T any](s *Store, m *tlsv3.Secret) func() plan[T] {
	var pl any
	switch x := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		pl = keyPairPlan(s, x.TlsCertificate)
	case *tlsv3.Secret_ValidationContext:
		pl = validationPlan(s, x.ValidationContext)
	case *tlsv3.Secret_SessionTicketKeys:
		pl = ticketKeysPlan(x.SessionTicketKeys)
	case *tlsv3.Secret_GenericSecret:
		pl = genericPlan(x.GenericSecret)
	}
	return pl.(func() plan[T])
}

// adopt gives the source, whose slot may have no value yet, the content of another one that nobody knows. It reports whether that is new:
// whole says that the same sum means the same content.
func (s *source[T]) adopt(from *source[T], whole bool) bool {
	s.store.changing.Lock()
	defer s.store.changing.Unlock()
	if whole && s.value != nil && s.sum == from.sum {
		return false
	}
	s.plan, s.value, s.sum, s.signed, s.complaint = from.plan, from.value, from.sum, from.signed, ""
	first := s.slot.from == nil
	s.put()
	if first {
		s.number = know(s.store, s, nil)
	} else {
		s.store.move(s.number)
	}
	return true
}
