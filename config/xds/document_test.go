package xds

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// parser is a Client that only reads.
func parser(t testing.TB) (*Client, *subscription.Hub) {
	t.Helper()
	hub := subscription.New(subscription.Options{})
	c, err := New(Options{Hub: hub, Support: localSupport(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c, hub
}

func TestDocumentLocatesProblems(t *testing.T) {
	c, _ := parser(t)
	for name, test := range map[string]struct{ text, path, want string }{
		"plain":   {yamlOf("1", "a", "b\n  connect_timeout: 1s"), "connect_timeout", `d.yaml:7:3: error: cluster "b": connect_timeout: x`},
		"nearest": {yamlOf("1", "a", "b"), "load_assignment.endpoints[0]", `d.yaml:5:3: error: cluster "b": load_assignment.endpoints[0]: x`},
		"wrapped": {"resources:\n- '@type': type.googleapis.com/envoy.service.discovery.v3.Resource\n  name: b\n  resource:\n" +
			"    '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: b\n    connect_timeout: 1s\n",
			"connect_timeout", `d.yaml:7:5: error: cluster "b": connect_timeout: x`},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.parse("d.yaml", []byte(test.text), true)
			if d.broken || d.source == nil {
				t.Fatal(d.problems)
			}
			key := resource.Key{Type: resource.Cluster, Name: "b"}
			got := d.locate(kindOf(resource.Cluster), []resource.Rejection{{Key: key, Problems: []resource.Problem{{Path: resource.Path(test.path), Message: "x"}}}})
			if len(got) != 1 || got[0].String() != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

func TestWrappedMistakesAreOfTheirResource(t *testing.T) {
	c, _ := parser(t)
	d := c.parse("d.yaml", []byte("resources:\n- '@type': type.googleapis.com/envoy.service.discovery.v3.Resource\n  name: b\n  resource:\n"+
		"    '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: b\n    wrong: 1\n"), true)
	r := d.response(kindOf(resource.Cluster), "1", true)
	if len(r.items) != 1 || r.items[0].name != "b" || len(r.items[0].problems) != 1 {
		t.Fatalf("%+v", r.items)
	}
	if got := r.items[0].problems[0].String(); !strings.HasPrefix(got, `d.yaml:7:5: error: wrong: unknown field "wrong"`) {
		t.Error(got)
	}
}

// FuzzDocument reads any text as each format and gives what it says to those who want it: no panic, and what is rejected has a reason.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(yamlOf("1", "a", "a\n  wrong: x")), byte(0))
	f.Add([]byte(jsonOf("1", `"a"`)), byte(1))
	f.Add([]byte("\x0a\x011"), byte(2))
	f.Add([]byte(`version_info: "1" resources { type_url: "x" }`), byte(3))
	c, hub := parser(f)
	kind := kindOf(resource.Cluster)
	source := subscription.NewSource(fileSource("d"))
	w := hub.Watch(source.Config, resource.Key{Type: kind.name, Name: subscription.All}, "", resource.NewProblems(""), subscription.User{
		Apply: func(subscription.Delta) []resource.Rejection { return nil },
	})
	w.Hold()
	c.sort()
	f.Fuzz(func(t *testing.T, text []byte, format byte) {
		name := "d" + []string{".yaml", ".json", ".pb", ".pb_text"}[format%4]
		d := c.parse(name, text, format&4 == 0)
		if d.source == nil || d.broken {
			if len(d.problems[-1]) == 0 {
				t.Error("unreadable without a reason")
			}
			return
		}
		rejected := c.take(source, d.response(kind, "1", format&8 == 0))
		for _, p := range d.locate(kind, rejected) {
			if p.Message == "" {
				t.Error("rejected without a reason")
			}
		}
	})
}
