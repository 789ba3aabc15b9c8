package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// names returns what a test of a kind works with: what the hub is asked for (a collection or two names), and the resources a and b.
func (k *kind) testNames() (wanted []string, a, b string) {
	switch {
	case k.whole:
		return []string{"*"}, "a", "b"
	case k.name == "virtual host":
		return []string{"rc/*"}, "rc/a", "rc/b"
	default:
		return []string{"a", "b"}, "a", "b"
	}
}

// An offer is one resource in a message that a test sends.
type offer struct {
	name string
	n    int
	bad  bool
}

// message returns a message of either protocol.
func message(incremental bool, k *kind, version, nonce string, removed []string, offers ...offer) proto.Message {
	if !incremental {
		m := &discoveryv3.DiscoveryResponse{TypeUrl: k.url, VersionInfo: version, Nonce: nonce}
		for _, o := range offers {
			m.Resources = append(m.Resources, k.body(o.name, o.n, o.bad))
		}
		return m
	}
	m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: k.url, SystemVersionInfo: version, Nonce: nonce, RemovedResources: removed}
	for _, o := range offers {
		w := &discoveryv3.Resource{Name: o.name, Version: fmt.Sprint(version, ".", o.name), Resource: k.body(o.name, o.n, o.bad)}
		m.Resources = append(m.Resources, w)
	}
	return m
}

// each runs a test for every kind in both protocols.
func each(t *testing.T, f func(t *testing.T, r *rig, p protocol, k *kind, incremental bool)) {
	for i := range kinds {
		for _, incremental := range []bool{false, true} {
			k := &kinds[i]
			if !incremental && k.stream == "" {
				continue
			}
			name := k.short + "/sotw"
			if incremental {
				name = k.short + "/delta"
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t, Options{})
				l, node := r.client.ledgerOf(r.source), &corev3.Node{Id: "me"}
				if incremental {
					f(t, r, newDelta(l, node, true), k, true)
				} else {
					f(t, r, newSotW(l, node, true), k, false)
				}
			})
		}
	}
}

// holds fails unless a user has a resource with this content, or none if n is 0.
func (r *rig) holds(k *kind, users []*user, name string, n int) {
	r.t.Helper()
	var got proto.Message
	for _, u := range users {
		if m := u.content(name); m != nil {
			got = m
		}
	}
	switch {
	case n == 0 && got != nil:
		r.t.Fatalf("%s: there is a %s, want none", name, got)
	case n != 0 && (got == nil || !proto.Equal(got, k.make(name, n))):
		r.t.Fatalf("%s: got %v, want %v", name, got, k.make(name, n))
	}
}

func TestTheLifeOfASubscription(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p protocol, k *kind, incremental bool) {
		wanted, a, b := k.testNames()
		users := make([]*user, len(wanted))
		for i, name := range wanted {
			users[i] = r.use(k.name, name)
		}
		r.hear(p)
		p.open()
		first := hearNext(p)
		if first == nil || first.kind != k || first.node != "me" || first.nonce != "" || first.version != "" {
			t.Fatalf("the first request: %+v", first)
		}
		onWire := map[bool][]string{true: {"a", "b"}}[len(wanted) == 2]
		sameNames(t, "names of the first request", first.names, onWire...)
		quiet(t, p)

		// What is good takes effect and is acknowledged.
		if bad := r.give(p, message(incremental, k, "1", "n1", nil, offer{a, 1, false}, offer{b, 1, false})); len(bad) > 0 {
			t.Fatalf("rejected: %v", bad)
		}
		r.holds(k, users, a, 1)
		r.holds(k, users, b, 1)
		if s := hearNext(p); s == nil || s.nonce != "n1" || s.nack != "" || s.node != "" || !incremental && s.version != "1" {
			t.Fatalf("the acknowledgement: %+v", s)
		}
		quiet(t, p)

		// One bad among good: its last good version stays, the other is in force.
		bad := r.give(p, message(incremental, k, "2", "n2", nil, offer{a, 2, false}, offer{b, 2, true}))
		if len(bad) != 1 || bad[0].Key.Name != b {
			t.Fatalf("rejected: %v", bad)
		}
		r.holds(k, users, a, 2)
		r.holds(k, users, b, 1)
		s := hearNext(p)
		if s == nil || s.nonce != "n2" || !strings.Contains(s.nack, bad[0].Key.String()) || !strings.Contains(s.nack, "has fields that") ||
			!incremental && s.version != "1" {
			t.Fatalf("the refusal: %+v", s)
		}

		// The same resources again cost nothing; the bad one is repaired.
		given := 0
		for _, u := range users {
			given += u.compiled()
		}
		if bad := r.give(p, message(incremental, k, "3", "n3", nil, offer{a, 2, false}, offer{b, 3, false})); len(bad) > 0 {
			t.Fatalf("rejected: %v", bad)
		}
		r.holds(k, users, b, 3)
		for _, u := range users {
			given -= u.compiled()
		}
		if given != -1 {
			t.Fatalf("%d resources were compiled for one that has changed", -given)
		}
		if s := hearNext(p); s == nil || s.nonce != "n3" || s.nack != "" {
			t.Fatalf("the acknowledgement: %+v", s)
		}

		removal(t, r, p, k, incremental, users)
		reconnect(t, r, p, k, incremental, wanted)
	})
}

// removal is the part of the life of a subscription in which b goes and comes back.
func removal(t *testing.T, r *rig, p protocol, k *kind, incremental bool, users []*user) {
	_, a, b := k.testNames()
	m := message(incremental, k, "4", "n4", []string{b}, offer{a, 2, false})
	if bad := r.give(p, m); len(bad) > 0 {
		t.Fatalf("rejected: %v", bad)
	}
	if incremental || k.whole {
		r.holds(k, users, b, 0)
	} else {
		r.holds(k, users, b, 3) // what a state of the world leaves out of these types stays
	}
	r.holds(k, users, a, 2)
	if s := hearNext(p); s == nil || s.nonce != "n4" || s.nack != "" {
		t.Fatalf("the acknowledgement: %+v", s)
	}
	if bad := r.give(p, message(incremental, k, "5", "n5", nil, offer{a, 2, false}, offer{b, 5, false})); len(bad) > 0 {
		t.Fatalf("rejected: %v", bad)
	}
	r.holds(k, users, b, 5)
	if s := hearNext(p); s == nil || s.nonce != "n5" {
		t.Fatalf("the acknowledgement: %+v", s)
	}
	quiet(t, p)
}

// reconnect is the part in which the stream ends: all that is wanted is asked for again, with the versions in force.
func reconnect(t *testing.T, r *rig, p protocol, k *kind, incremental bool, wanted []string) {
	_, a, b := k.testNames()
	p.open()
	s := hearNext(p)
	if s == nil || s.node != "me" || s.nonce != "" || s.nack != "" {
		t.Fatalf("the first request of the next stream: %+v", s)
	}
	if incremental {
		if len(s.versions) != 2 || s.versions[a] != "5."+a || s.versions[b] != "5."+b {
			t.Fatalf("initial versions: %v", s.versions)
		}
	} else if s.version != "5" {
		t.Fatalf("version %q, want 5", s.version)
	}
	quiet(t, p)
	if len(wanted) == 2 {
		sameNames(t, "names after a reconnection", s.names, "a", "b")
	}
}

func TestWhatIsWantedComesAndGoes(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p protocol, k *kind, incremental bool) {
		if k.whole || k.stream == "" {
			return
		}
		a := r.use(k.name, "a")
		r.hear(p)
		p.open()
		sameNames(t, "first", hearNext(p).names, "a")
		r.give(p, message(incremental, k, "1", "n1", nil, offer{"a", 1, false}))
		hearNext(p)

		b, c := r.use(k.name, "b"), r.use(k.name, "c")
		r.hear(p)
		s := hearNext(p)
		if s == nil || !incremental && s.nonce != "n1" {
			t.Fatalf("the request with more names: %+v", s)
		}
		if incremental {
			sameNames(t, "subscribed", s.names, "b", "c")
		} else {
			sameNames(t, "all names", s.names, "a", "b", "c")
		}
		quiet(t, p)

		a.watch.Release()
		c.watch.Release()
		r.hear(p)
		s = hearNext(p)
		if incremental {
			sameNames(t, "subscribed", s.names)
			sameNames(t, "unsubscribed", s.gone, "a", "c")
		} else {
			sameNames(t, "all names", s.names, "b")
		}
		if have := r.client.ledgerOf(r.source).versions(k); len(have) != 0 {
			t.Fatalf("remembered of what nobody wants: %v", have)
		}
		// What is no longer wanted is left aside.
		if bad := r.give(p, message(incremental, k, "2", "n2", nil, offer{"a", 2, true}, offer{"b", 2, false})); len(bad) > 0 {
			t.Fatalf("rejected: %v", bad)
		}
		r.holds(k, []*user{b}, "b", 2)
		if n, _ := r.stats.Value("xds.resources_ignored"); n != 1 {
			t.Fatalf("resources_ignored is %d, want 1", n)
		}
		b.watch.Release()
		r.hear(p)
		hearNext(p)
		again := r.use(k.name, "b")
		r.hear(p)
		sameNames(t, "wanted anew", hearNext(p).names, "b")
		r.give(p, message(incremental, k, "2", "n3", nil, offer{"b", 2, false}))
		r.holds(k, []*user{again}, "b", 2)
	})
}

// Somebody who wants again what was unwanted for a moment gets what is in force, without a request.
func TestWhatHasGoneAndComeBackIsGivenAgain(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p protocol, k *kind, incremental bool) {
		wanted, a, _ := k.testNames()
		u := r.use(k.name, wanted[0])
		r.hear(p)
		p.open()
		hearNext(p)
		r.give(p, message(incremental, k, "1", "n1", nil, offer{a, 1, false}))
		hearNext(p)
		u.watch.Release()
		again := r.use(k.name, wanted[0])
		r.hear(p)
		r.holds(k, []*user{again}, a, 1)
		quiet(t, p)
	})
}

// What was unsubscribed and subscribed before that could be said is subscribed anew, so that the resource is sent again.
func TestDeltaResubscription(t *testing.T) {
	r := newRig(t, Options{})
	d := newDelta(r.client.ledgerOf(r.source), nil, true)
	u := r.use("route", "a")
	r.hear(d)
	d.open()
	hearNext(d)
	u.watch.Release()
	r.hear(d)
	r.use("route", "a")
	r.hear(d)
	s := hearNext(d)
	sameNames(t, "subscribed", s.names, "a")
	sameNames(t, "unsubscribed", s.gone)

	// Who comes after the source has said that there is no such resource hears it, too.
	r.give(d, message(true, kindOf("route"), "1", "n1", []string{"a"}))
	hearNext(d)
	b := r.use("route", "b")
	r.hear(d)
	hearNext(d)
	b.watch.Release()
	r.use("route", "b")
	r.hear(d)
	sameNames(t, "subscribed for who comes later", hearNext(d).names, "b")
	quiet(t, d)
}

func TestRequestsGoInEnvoysOrder(t *testing.T) {
	for _, incremental := range []bool{false, true} {
		r := newRig(t, Options{})
		p := protocol(newSotW(r.client.ledgerOf(r.source), &corev3.Node{Id: "me"}, false))
		if incremental {
			p = newDelta(r.client.ledgerOf(r.source), &corev3.Node{Id: "me"}, false)
		}
		for _, u := range [][2]string{{"route", "r"}, {"listener", "*"}, {"endpoints", "e"}, {"secret", "s"}, {"cluster", "*"}} {
			r.use(u[0], u[1])
		}
		r.hear(p)
		p.open()
		if n := p.pending(nil); n != 5 {
			t.Errorf("%d requests wait, want 5", n)
		}
		var got []string
		for s := hearNext(p); s != nil; s = hearNext(p) {
			if got = append(got, s.kind.short); s.node != "me" {
				t.Error("a request without the node")
			}
		}
		if want := []string{"cds", "eds", "lds", "rds", "sds"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestResponsesNobodyAskedFor(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p protocol, k *kind, incremental bool) {
		p.open()
		if p.read(message(incremental, k, "1", "n1", nil, offer{"a", 1, false})) != nil {
			t.Error("a response about a type that was not asked for is read")
		}
		if p.read(message(!incremental, k, "1", "n1", nil)) != nil {
			t.Error("a message of the other protocol is read")
		}
		quiet(t, p)
	})
}

// A thousand names that come together are one request, and each acknowledgement goes on its own.
func TestRequestsAreJoined(t *testing.T) {
	r := newRig(t, Options{})
	d := newDelta(r.client.ledgerOf(r.source), nil, true)
	r.use("endpoints", "x")
	r.hear(d)
	d.open()
	hearNext(d)
	for i := range 1000 {
		r.use("endpoints", fmt.Sprint("e", i))
	}
	r.hear(d)
	k := kindOf("endpoints")
	r.give(d, message(true, k, "1", "n1", nil))
	r.give(d, message(true, k, "2", "n2", nil))
	if d.pending(nil) != 2 {
		t.Errorf("%d requests wait, want 2", d.pending(nil))
	}
	if s := hearNext(d); len(s.names) != 1000 || s.nonce != "n1" {
		t.Errorf("%d names, nonce %q", len(s.names), s.nonce)
	}
	if s := hearNext(d); len(s.names) != 0 || s.nonce != "n2" {
		t.Errorf("%d names, nonce %q", len(s.names), s.nonce)
	}
	quiet(t, d)
}

func TestALongReasonIsBounded(t *testing.T) {
	r := newRig(t, Options{})
	s := newSotW(r.client.ledgerOf(r.source), nil, true)
	r.use("cluster", "*")
	r.hear(s)
	s.open()
	hearNext(s)
	m := &discoveryv3.DiscoveryResponse{TypeUrl: kindOf("cluster").url, Nonce: "n"}
	for i := range 1000 {
		m.Resources = append(m.Resources, &anypb.Any{TypeUrl: m.TypeUrl, Value: []byte("\x0a\x05c" + fmt.Sprintf("%04d", i) + "\xff")})
	}
	if bad := r.give(s, m); len(bad) != 1000 {
		t.Fatalf("%d rejected, want all", len(bad))
	}
	if nack := hearNext(s).nack; len(nack) > maxReason || !strings.Contains(nack, `cluster "c0000"`) {
		t.Errorf("the reason has %d bytes: %.100s", len(nack), nack)
	}
}

// Virtual hosts are asked for once, all of them; who comes later picks from what is there.
func TestVirtualHostsOfSeveralRouteConfigurations(t *testing.T) {
	r := newRig(t, Options{})
	d := newDelta(r.client.ledgerOf(r.source), nil, true)
	k := kindOf("virtual host")
	one := r.use(k.name, "one/*")
	r.hear(d)
	d.open()
	sameNames(t, "of the first request", hearNext(d).names)
	r.give(d, message(true, k, "1", "n1", nil, offer{"one/a", 1, false}, offer{"two/a", 2, false}, offer{"three/a", 3, true}))
	if s := hearNext(d); s.nonce != "n1" || s.nack == "" {
		t.Errorf("the answer: %+v", s)
	}
	two := r.use(k.name, "two/*")
	r.hear(d)
	r.holds(k, []*user{one}, "one/a", 1)
	r.holds(k, []*user{two}, "two/a", 2)
	r.holds(k, []*user{one}, "two/a", 0)
	quiet(t, d)
	r.give(d, message(true, k, "2", "n2", []string{"two/a"}, offer{"one/a", 4, false}))
	r.holds(k, []*user{one}, "one/a", 4)
	r.holds(k, []*user{two}, "two/a", 0)
}
