package xds

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A sotw speaks the state-of-the-world variant: every request names all that is wanted of a type.
type sotw struct {
	greeter
	ledger *ledger
	types  map[*kind]*sotwType
}

// A sotwType is what is said about one type.
type sotwType struct {
	names   map[string]bool // wanted, by their names in the hub
	version string          // of the last response that was accepted as a whole
	nonce   string          // of the last response of this stream
	asked   bool            // on this stream
	due     bool            // there is something to say
	left    bool            // names have gone since the last request
	error   *status.Status  // why the last response was not accepted
	nack    string          // the same, for people; stays until a response is good
}

func newSotW(l *ledger, node *corev3.Node, once bool) *sotw {
	return &sotw{greeter: greeter{node: node, once: once}, ledger: l, types: map[*kind]*sotwType{}}
}

func (s *sotw) open() {
	s.given = false
	for _, t := range s.types {
		t.nonce, t.asked, t.error = "", false, nil
		t.due = len(t.names) > 0
	}
}

func (s *sotw) want(w subscription.Want) {
	k := kindOf(w.Type)
	t := s.types[k]
	if t == nil {
		t = &sotwType{names: map[string]bool{}}
		s.types[k] = t
	}
	if w.On == t.names[w.Name] {
		return
	}
	if w.On {
		t.names[w.Name] = true
	} else {
		delete(t.names, w.Name)
		t.left = true
	}
	t.due = true
}

func (s *sotw) pending(calm calm) int {
	n := 0
	for k, t := range s.types {
		if t.due && !calm[k] {
			n++
		}
	}
	return n
}

func (s *sotw) next(calm calm) (proto.Message, *kind) {
	for i := range kinds {
		k := &kinds[i]
		t := s.types[k]
		if t == nil || !t.due || calm[k] {
			continue
		}
		t.due = false
		if t.left {
			t.left = false
			s.ledger.leave(k)
		}
		if len(t.names) == 0 && (!t.asked || k.whole) {
			continue // no names would mean all of them
		}
		t.asked = true
		req := &discoveryv3.DiscoveryRequest{
			Node: s.greet(), TypeUrl: k.url, VersionInfo: t.version, ResponseNonce: t.nonce, ResourceNames: t.wire(k), ErrorDetail: t.error,
		}
		t.error = nil
		return req, k
	}
	return nil, nil
}

// wire returns the names as they are sent: none at all for the whole of a type.
func (t *sotwType) wire(k *kind) []string {
	if len(t.names) == 1 && t.names[subscription.All] {
		return nil
	}
	names := slices.Sorted(maps.Keys(t.names))
	for i := range names {
		names[i] = k.wire(names[i])
	}
	return names
}

func (s *sotw) response() proto.Message { return new(discoveryv3.DiscoveryResponse) }

func (s *sotw) read(m proto.Message) *response {
	d, ok := m.(*discoveryv3.DiscoveryResponse)
	if !ok {
		return nil
	}
	if t := s.types[kindOfURL(d.GetTypeUrl())]; t == nil || !t.asked {
		return nil
	}
	return fromSotW(d)
}

func (s *sotw) settle(r *response, rejected []resource.Rejection) {
	t := s.types[kindOfURL(r.typeURL)]
	if t == nil {
		return
	}
	t.nonce, t.due = r.nonce, true
	if t.error, t.nack = reason(rejected), ""; t.error != nil {
		t.nack = t.error.GetMessage()
		return
	}
	t.version = r.version
}

func (s *sotw) topics() []topicState {
	var out []topicState
	for i := range kinds {
		t := s.types[&kinds[i]]
		if t == nil || len(t.names) == 0 && !t.asked {
			continue
		}
		out = append(out, topicState{
			kind: &kinds[i], names: len(t.names), wildcard: t.names[subscription.All],
			version: t.version, nonce: t.nonce, pending: t.due, nack: t.nack,
		})
	}
	return out
}
