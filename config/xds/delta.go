package xds

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A delta speaks the incremental variant: requests say what has changed of what is wanted, responses what has changed of the resources.
type delta struct {
	greeter
	ledger *ledger
	types  map[*kind]*deltaType
}

// A deltaType is what is said about one type.
type deltaType struct {
	names       map[string]bool // wanted, by their names in the hub
	asked       bool            // on this stream
	every       bool            // all there are have been asked for on this stream, for want of names
	plus, minus map[string]bool // not yet said on this stream; nothing before the first request
	acks        []ack
	version     string // of the last response, for people
	nonce       string
	nack        string
}

// An ack answers one response.
type ack struct {
	nonce string
	error *status.Status
}

func newDelta(l *ledger, node *corev3.Node, once bool) *delta {
	return &delta{greeter: greeter{node: node, once: once}, ledger: l, types: map[*kind]*deltaType{}}
}

func (d *delta) open() {
	d.given = false
	for k, t := range d.types {
		if len(t.minus) > 0 {
			d.ledger.leave(k)
		}
		t.asked, t.every, t.acks, t.nonce = false, false, nil, ""
		clear(t.plus)
		clear(t.minus)
		if !k.anyUnnamed(t.names) {
			d.ledger.keep(k, false)
		}
	}
}

func (d *delta) want(w subscription.Want) {
	k := kindOf(w.Type)
	t := d.types[k]
	if t == nil {
		t = &deltaType{names: map[string]bool{}, plus: map[string]bool{}, minus: map[string]bool{}}
		d.types[k] = t
	}
	if w.On == t.names[w.Name] {
		if w.On && t.asked && d.ledger.get(d.ledger.shelf(k), w.Name) == nil && !subscription.IsCollection(w.Key) {
			t.plus[w.Name] = true // who wants it now has not heard that it does not exist
		}
		return
	}
	if w.On {
		t.names[w.Name] = true
	} else {
		delete(t.names, w.Name)
	}
	switch {
	case k.unnamed(w.Name) && t.every: // to the end of the stream
	case !t.asked && w.On: // the first request says it
	case !t.asked:
		d.ledger.leave(k)
	case w.On: // even if its end has not been said yet: a second subscription brings the resource again
		t.plus[w.Name] = true
		delete(t.minus, w.Name)
	case t.plus[w.Name]:
		delete(t.plus, w.Name)
		t.minus[w.Name] = true // it may have been subscribed to before that
	default:
		t.minus[w.Name] = true
	}
}

// due reports whether there is something to say.
func (t *deltaType) due() bool {
	return !t.asked && len(t.names) > 0 || len(t.plus)+len(t.minus)+len(t.acks) > 0
}

func (d *delta) pending(calm calm) int {
	n := 0
	for k, t := range d.types {
		if t.due() && !calm[k] {
			n += max(1, len(t.acks))
		}
	}
	return n
}

func (d *delta) next(calm calm) (proto.Message, *kind) {
	for i := range kinds {
		k := &kinds[i]
		t := d.types[k]
		if t == nil || !t.due() || calm[k] {
			continue
		}
		req := &discoveryv3.DeltaDiscoveryRequest{Node: d.greet(), TypeUrl: k.url}
		if t.asked {
			req.ResourceNamesSubscribe, req.ResourceNamesUnsubscribe = k.wires(t.plus), k.wires(t.minus)
		} else {
			t.asked = true
			req.InitialResourceVersions = d.ledger.versions(k)
			if names := k.wires(t.names); len(names) > 1 || names[0] != subscription.All { // nothing at all means everything
				req.ResourceNamesSubscribe = names
			}
		}
		if !t.every && k.anyUnnamed(t.names) {
			t.every = true
			d.ledger.keep(k, true)
		}
		if len(t.minus) > 0 {
			d.ledger.leave(k)
		}
		clear(t.plus)
		clear(t.minus)
		if len(t.acks) > 0 {
			req.ResponseNonce, req.ErrorDetail = t.acks[0].nonce, t.acks[0].error
			t.acks = t.acks[1:]
		}
		return req, k
	}
	return nil, nil
}

// wires returns names as they are sent, each once.
func (k *kind) wires(names map[string]bool) []string {
	out := make([]string, 0, len(names))
	for name := range names {
		out = append(out, k.wire(name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *delta) response() proto.Message { return new(discoveryv3.DeltaDiscoveryResponse) }

func (d *delta) read(m proto.Message) *response {
	x, ok := m.(*discoveryv3.DeltaDiscoveryResponse)
	if !ok {
		return nil
	}
	if t := d.types[kindOfURL(x.GetTypeUrl())]; t == nil || !t.asked {
		return nil
	}
	return fromDelta(x)
}

func (d *delta) settle(r *response, rejected []resource.Rejection) {
	t := d.types[kindOfURL(r.typeURL)]
	if t == nil {
		return
	}
	a := ack{nonce: r.nonce, error: reason(rejected)}
	t.acks, t.version, t.nonce, t.nack = append(t.acks, a), r.version, r.nonce, a.error.GetMessage()
}

func (d *delta) topics() []topicState {
	var out []topicState
	for i := range kinds {
		t := d.types[&kinds[i]]
		if t == nil || len(t.names) == 0 && !t.asked {
			continue
		}
		out = append(out, topicState{
			kind: &kinds[i], names: len(t.names), wildcard: t.names[subscription.All],
			version: t.version, nonce: t.nonce, pending: t.due(), nack: t.nack,
		})
	}
	return out
}
