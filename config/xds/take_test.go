package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftproxy/weft/resource"
)

func TestWhatIsRejected(t *testing.T) {
	cluster := kindOf(resource.Cluster)
	good := func(name string, n int) item { return item{body: cluster.body(name, n, false)} }
	for _, tt := range []struct {
		name    string
		resp    response
		want    map[string]string // rejected: the name, and part of the reason
		inForce []string          // of old (content 1), a and b (content 2)
	}{
		{name: "all good", resp: response{items: []item{good("a", 2), good("b", 2)}}, inForce: []string{"a", "b"}},
		{name: "nothing", resp: response{}},
		{name: "a duplicate", resp: response{items: []item{good("a", 2), good("b", 2), good("a", 3)}},
			want: map[string]string{"a": `duplicate cluster "a" found`}, inForce: []string{"b"}},
		{name: "the old one twice", resp: response{items: []item{good("old", 2), good("old", 3)}},
			want: map[string]string{"old": `duplicate cluster "old" found`}, inForce: []string{"old"}},
		{name: "set and removed",
			resp: response{delta: true, removed: []string{"old"}, items: []item{
				good("a", 2), {name: "old", body: cluster.body("old", 2, false)},
			}},
			want: map[string]string{"old": "duplicate"}, inForce: []string{"old", "a"}},
		{name: "of another type", resp: response{items: []item{good("a", 2), {body: kindOf(resource.Route).body("b", 1, false)}}},
			want: map[string]string{"": "resources[1] is a"}, inForce: []string{"old", "a"}},
		{name: "without a name", resp: response{items: []item{good("a", 2), good("", 2)}},
			want: map[string]string{"": "resources[1] has no name"}, inForce: []string{"old", "a"}},
		{name: "garbage", resp: response{items: []item{good("a", 2), {body: &anypb.Any{TypeUrl: cluster.url, Value: []byte("\xff\xff")}}}},
			want: map[string]string{"": "resources[1]"}, inForce: []string{"old", "a"}},
		{name: "garbage with a name",
			resp: response{items: []item{good("a", 2), {body: &anypb.Any{TypeUrl: cluster.url, Value: []byte("\x0a\x03old\xff")}}}},
			want: map[string]string{"old": "not a valid envoy.config.cluster.v3.Cluster"}, inForce: []string{"old", "a"}},
		{name: "an empty Any", resp: response{items: []item{{body: &anypb.Any{}}}},
			want: map[string]string{"": "resources[0]"}, inForce: []string{"old"}},
		{name: "two names", resp: response{delta: true, items: []item{{name: "a", body: cluster.body("b", 2, false)}}},
			want: map[string]string{"a": `name: is "b"`}, inForce: []string{"old"}},
		{name: "an unsupported field",
			resp: response{delta: true, items: []item{
				{name: "a", body: cluster.body("a", 2, true)}, {name: "b", body: cluster.body("b", 2, false)},
			}},
			want: map[string]string{"a": "has fields that"}, inForce: []string{"old", "b"}},
		{name: "an unknown type", resp: response{typeURL: "type.googleapis.com/x.Y", items: []item{good("a", 2)}},
			want: map[string]string{"type.googleapis.com/x.Y": "is not known"}, inForce: []string{"old"}},
		{name: "a heartbeat", resp: response{items: []item{{name: "old"}}}, inForce: []string{"old"}},
		{name: "a heartbeat of what there is not", resp: response{items: []item{{name: "a"}}}, inForce: []string{"old"}},
		{name: "a removal of what there is not", resp: response{delta: true, removed: []string{"x"}}, inForce: []string{"old"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Options{})
			u := r.use(resource.Cluster, "*")
			r.client.sort()
			r.client.take(r.source, &response{typeURL: cluster.url, version: "0", items: []item{good("old", 1)}})
			resp := tt.resp
			if resp.typeURL == "" {
				resp.typeURL = cluster.url
			}
			resp.version = "1"
			rejected := r.client.take(r.source, &resp)
			if len(rejected) != len(tt.want) {
				t.Errorf("rejected: %v, want %v", rejected, tt.want)
			}
			for _, x := range rejected {
				if want, ok := tt.want[x.Key.Name]; !ok || !strings.Contains(x.Error(), want) {
					t.Errorf("rejected: %v, want %q", x, want)
				}
			}
			for _, name := range []string{"old", "a", "b"} {
				if got, want := u.content(name) != nil, slices.Contains(tt.inForce, name); got != want {
					t.Errorf("%s in force: %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestUnknownFieldsMayBeIgnored(t *testing.T) {
	r := newRig(t, Options{})
	r.client.o.RejectUnknown = false
	u := r.use(resource.Route, "a")
	r.client.sort()
	k := kindOf(resource.Route)
	if bad := r.client.take(r.source, &response{typeURL: k.url, items: []item{{body: k.body("a", 1, true)}}}); len(bad) > 0 {
		t.Fatalf("rejected: %v", bad)
	}
	if u.content("a") == nil {
		t.Error("not in force")
	}
	if n, _ := r.stats.Value("xds.dynamic_unknown_fields"); n != 1 {
		t.Errorf("dynamic_unknown_fields is %d, want 1", n)
	}
}

func TestAResourceIsUnwrapped(t *testing.T) {
	k := kindOf(resource.Route)
	m := &discoveryv3.DiscoveryResponse{TypeUrl: k.url, VersionInfo: "7", Nonce: "n", Resources: []*anypb.Any{
		anyOf(&discoveryv3.Resource{Name: "a", Version: "1", Ttl: durationpb.New(time.Minute), Resource: k.body("a", 1, false)}),
		{TypeUrl: wrapperURL, Value: []byte{0xff}},
	}}
	resp := fromSotW(m)
	if it := resp.items[0]; it.name != "a" || it.version != "7" || it.ttl != time.Minute || it.body.GetTypeUrl() != k.url {
		t.Errorf("got %+v", it)
	}
	r := newRig(t, Options{})
	u := r.use(resource.Route, "a")
	r.client.sort()
	bad := r.client.take(r.source, resp)
	if len(bad) != 1 || !strings.Contains(bad[0].Error(), "not a valid envoy.service.discovery.v3.Resource") || u.content("a") == nil {
		t.Errorf("rejected: %v; in force: %v", bad, u.content("a"))
	}
	r.client.stopAll()
}

// A resource with a TTL goes when nobody renews it; a heartbeat renews it.
func TestTTL(t *testing.T) {
	for _, collection := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Options{})
			k, name := kindOf(resource.Filter), "a"
			if collection {
				k, name = kindOf(resource.Listener), "*"
			}
			u := r.use(k.name, name)
			r.client.sort()
			body := k.body("a", 1, false)
			give := func(it item) {
				t.Helper()
				it.name = "a"
				if bad := r.client.take(r.source, &response{typeURL: k.url, delta: true, items: []item{it}}); len(bad) > 0 {
					t.Fatal(bad)
				}
			}
			inForce := func(want bool) {
				t.Helper()
				synctest.Wait()
				if got := u.content("a") != nil; got != want {
					t.Fatalf("in force: %v, want %v", got, want)
				}
			}
			give(item{body: body, ttl: time.Second})
			<-time.After(900 * time.Millisecond)
			give(item{ttl: time.Second})
			<-time.After(900 * time.Millisecond)
			inForce(true)
			<-time.After(200 * time.Millisecond)
			inForce(false)
			if v := r.client.ledgerOf(r.source).versions(k); len(v) > 0 {
				t.Errorf("still remembered: %v", v)
			}
			give(item{body: body, ttl: time.Second})
			inForce(true)
			give(item{body: body}) // without a TTL it stays
			<-time.After(time.Hour)
			inForce(true)
		})
	}
}

// An unchanged push of everything decodes and compiles nothing.
func TestAnUnchangedPushIsCheap(t *testing.T) {
	r := newRig(t, Options{})
	u := r.use(resource.Cluster, "*")
	r.client.sort()
	k := kindOf(resource.Cluster)
	items := make([]item, 1000)
	for i := range items {
		items[i].body = k.body(fmt.Sprint("c", i), 1, false)
	}
	push := func(version string) {
		for i := range items {
			items[i].version = version
		}
		if bad := r.client.take(r.source, &response{typeURL: k.url, version: version, items: items}); len(bad) > 0 {
			t.Fatal(bad[0])
		}
	}
	push("1")
	before := u.compiled()
	allocs := testing.AllocsPerRun(3, func() { push("2") })
	if u.compiled() != before {
		t.Errorf("%d resources were given again", u.compiled()-before)
	}
	if each := allocs / 1000; each > 6 {
		t.Errorf("%.1f allocations a resource", each)
	}
	if m := r.hub.Members(r.source, resource.Key{Type: k.name, Name: "*"}); len(m) != 1000 || m[0].Current.Version != "2" {
		t.Errorf("%d members of version %s", len(m), m[0].Current.Version)
	}
}

func FuzzResponse(f *testing.F) {
	for i := range kinds {
		k := &kinds[i]
		for _, incremental := range []bool{false, true} {
			for _, m := range []proto.Message{
				message(incremental, k, "1", "n", []string{"a"}, offer{"a", 1, false}, offer{"b", 1, true}),
				message(incremental, k, "", "", nil, offer{"", 1, false}, offer{"a", 1, false}, offer{"a", 2, false}),
			} {
				b, err := proto.Marshal(m)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(incremental, b)
			}
		}
	}
	support := allFields()
	f.Fuzz(func(t *testing.T, incremental bool, body []byte) {
		r := newRig(t, Options{Support: support})
		p := protocol(newSotW(r.client.ledgerOf(r.source), nil, true))
		if incremental {
			p = newDelta(r.client.ledgerOf(r.source), nil, true)
		}
		m := p.response()
		if proto.Unmarshal(body, m) != nil {
			return
		}
		for i := range kinds {
			r.use(kinds[i].name, "a")
			r.use(kinds[i].name, "*")
		}
		r.hear(p)
		p.open()
		for s := hearNext(p); s != nil; s = hearNext(p) {
			if s.nonce != "" {
				t.Errorf("a nonce before any response: %+v", s)
			}
		}
		x := p.read(m)
		rejected := r.give(p, m)
		s := hearNext(p)
		if (s == nil) != (x == nil) {
			t.Fatalf("the answer to %v: %+v", m, s)
		}
		if s != nil && (s.nonce != x.nonce || (s.nack != "") != (len(rejected) > 0)) {
			t.Errorf("%d rejected; the answer: %+v", len(rejected), s)
		}
		quietly := hearNext(p)
		if quietly != nil {
			t.Errorf("another request: %+v", quietly)
		}
		r.client.stopAll()
	})
}

func FuzzTake(f *testing.F) {
	for i := range kinds {
		k := &kinds[i]
		for _, bad := range []bool{false, true} {
			f.Add(byte(i), false, k.body("a", 1, bad).Value, "a", "b")
			f.Add(byte(i), true, k.body("b", 2, bad).Value, "b", "a")
		}
		f.Add(byte(i), true, []byte("\x0a\x01a\xff"), "", "a")
	}
	support := allFields()
	f.Fuzz(func(t *testing.T, which byte, incremental bool, body []byte, name, removed string) {
		k := &kinds[int(which)%len(kinds)]
		r := newRig(t, Options{Support: support})
		r.use(k.name, "a")
		r.use(k.name, "*")
		r.client.sort()
		good := item{body: k.body("good", 1, false)}
		r.client.take(r.source, &response{typeURL: k.url, version: "1", delta: true, items: []item{good}})
		resp := &response{typeURL: k.url, version: "2", delta: incremental, items: []item{
			{name: name, body: &anypb.Any{TypeUrl: k.url, Value: body}}, {body: &anypb.Any{TypeUrl: k.url, Value: body}}, good,
		}}
		if incremental {
			resp.removed = []string{removed}
		}
		rejected := r.client.take(r.source, resp)
		if s := reason(rejected); len(s.GetMessage()) > maxReason {
			t.Errorf("a reason of %d bytes", len(s.GetMessage()))
		}
		if removed != "good" && name != "good" && nameIn(body) != "good" && !incremental {
			if r.client.ledgerOf(r.source).versions(k)["good"] != "" {
				t.Error("a version from nowhere")
			}
		}
		again := r.client.take(r.source, resp)
		if len(again) != len(rejected) {
			t.Errorf("%d rejected, then %d of the same", len(rejected), len(again))
		}
	})
}

func TestALongNameThatIsBrokenKeepsItsVersion(t *testing.T) {
	r := newRig(t, Options{})
	cluster, long := kindOf(resource.Cluster), strings.Repeat("x", 1000)
	u := r.use(resource.Cluster, "*")
	r.client.sort()
	r.client.take(r.source, &response{typeURL: cluster.url, version: "1", items: []item{{body: cluster.body(long, 1, false)}}})
	rejected := r.client.take(r.source, &response{typeURL: cluster.url, version: "2", items: []item{
		{body: cluster.body(long, 2, true)}, {body: cluster.body("a", 2, false)},
	}})
	if len(rejected) != 1 || rejected[0].Key.Name != long || !u.is(cluster, long, 1) || !u.is(cluster, "a", 2) {
		t.Errorf("rejected %v", rejected)
	}
}
