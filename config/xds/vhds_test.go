package xds

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/resource"
)

// Virtual hosts are asked for without names, so that a source sends those of every route configuration, also of those that come later.
func TestVirtualHostsThatNobodyWantsYetAreKept(t *testing.T) {
	r, k := newRig(t, Options{}), kindOf(resource.VHost)
	p := newDelta(r.client.ledgerOf(r.source), &corev3.Node{Id: "me"}, true)
	a := r.use(k.name, "a/*")
	r.hear(p)
	p.open()
	if s := hearNext(p); s == nil || len(s.names) > 0 {
		t.Fatalf("the first request: %+v", s)
	}
	if bad := r.give(p, message(true, k, "1", "n1", nil, offer{"a/x", 1, false}, offer{"b/x", 1, false}, offer{"b/y", 1, false})); len(bad) > 0 {
		t.Fatalf("rejected: %v", bad)
	}
	hearNext(p)
	r.holds(k, []*user{a}, "a/x", 1)

	// Another route configuration wants its own: they are there, and need no request.
	b := r.use(k.name, "b/*")
	r.hear(p)
	quiet(t, p)
	r.holds(k, []*user{b}, "b/x", 1)
	r.holds(k, []*user{b}, "b/y", 1)
	r.holds(k, []*user{b}, "a/x", 0)

	// They change, and go, whether they are wanted or not.
	b.watch.Release()
	r.hear(p)
	quiet(t, p)
	r.give(p, message(true, k, "2", "n2", []string{"b/y"}, offer{"b/x", 2, false}))
	hearNext(p)
	again := r.use(k.name, "b/*")
	r.hear(p)
	quiet(t, p)
	r.holds(k, []*user{again}, "b/x", 2)
	r.holds(k, []*user{again}, "b/y", 0)

	// The next stream begins with the versions of all of them, the last with none.
	p.open()
	if s := hearNext(p); s == nil || len(s.versions) != 2 || s.versions["a/x"] != "1.a/x" || s.versions["b/x"] != "2.b/x" {
		t.Fatalf("the next stream begins with %+v", s)
	}
	a.watch.Release()
	again.watch.Release()
	r.hear(p)
	p.open()
	if have := r.client.ledgerOf(r.source).versions(k); len(have) > 0 {
		t.Fatalf("remembered of what nobody wants: %v", have)
	}
}

// Virtual hosts with xdstp names are asked for by them; "*" stands for the others beside them.
func TestVirtualHostsWithAndWithoutNames(t *testing.T) {
	const glob = "xdstp://authority/envoy.config.route.v3.VirtualHost/rc/*"
	r, k := newRig(t, Options{}), kindOf(resource.VHost)
	p := newDelta(r.client.ledgerOf(r.source), &corev3.Node{Id: "me"}, true)
	r.use(k.name, glob)
	r.hear(p)
	p.open()
	sameNames(t, "the first request", hearNext(p).names, glob)
	for _, name := range []string{"a/*", "b/*"} {
		r.use(k.name, name)
	}
	r.hear(p)
	sameNames(t, "the others", hearNext(p).names, "*")
	r.use(k.name, "c/*")
	r.hear(p)
	quiet(t, p)
	p.open()
	sameNames(t, "all of them", hearNext(p).names, "*", glob)
}
