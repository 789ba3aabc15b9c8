package secret

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// A Static is a compiled static secret. Who names the secret has its slot, the same one whatever the secret's content: a changed secret
// changes nothing for its users until Publish.
type Static struct {
	id      id
	source  any // *source of the kind's value
	publish func()
}

// Compile reads a static secret that stands at a place. It returns nil after reporting to p what is wrong. A name of which there was no
// secret has its value at once, others with Publish.
func (s *Store) Compile(m *tlsv3.Secret, at resource.Path, p *resource.Problems) *Static {
	kind, ok := kindOf(m)
	if !ok {
		p.Errorf(at, noContent, "the secret has no content")
		return nil
	}
	switch i := (id{kind: kind, name: m.GetName()}); kind {
	case TLSCertificate:
		return newStatic(s, i, at, p, planOf[KeyPair](s, m))
	case ValidationContext:
		return newStatic(s, i, at, p, planOf[Validation](s, m))
	case SessionTicketKeys:
		return newStatic(s, i, at, p, planOf[TicketKeys](s, m))
	default:
		return newStatic(s, i, at, p, planOf[Generic](s, m))
	}
}

func newStatic[T any](s *Store, i id, at resource.Path, p *resource.Problems, pl func() plan[T]) *Static {
	if i.name == "" {
		p.Errorf(at.Field("name"), "users find it by its name", "a secret needs a name")
		return nil
	}
	src := &source[T]{store: s, id: i, at: at.Field(i.kind.String()), slot: slotOf[T](s, i), plan: pl}
	if !src.load(p) {
		return nil
	}
	s.changing.Lock()
	if src.slot.from == nil {
		src.put()
	}
	s.changing.Unlock()
	know(s, src, nil)
	return &Static{id: i, source: src, publish: func() { publish(src) }}
}

// Publish puts the secret's value into its slot, for all who use it; also for one that another Static of the name has taken over meanwhile.
// Of what it is combined with the files are read again.
func (st *Static) Publish() { st.publish() }

func publish[T any](src *source[T]) {
	s := src.store
	s.changing.Lock()
	defer s.changing.Unlock()
	if src.slot.from == src {
		return
	}
	src.put()
	slot, ok := any(src.slot).(*Slot[Validation])
	if !ok {
		return
	}
	for _, dependent := range s.dependents(slot) {
		dependent.refreshLocked()
	}
	s.wake() // they may have other files now
}
