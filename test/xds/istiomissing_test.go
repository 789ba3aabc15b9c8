package xds

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/kit"
)

// supported is what the builtin extensions support.
func supported(t *testing.T) resource.Support {
	t.Helper()
	registry, err := extension.NewRegistry(builtin.Extensions())
	if err != nil {
		t.Fatal(err)
	}
	return registry.Support()
}

// errorsIn are the errors that the fields of a resource alone show.
func errorsIn(s resource.Support, r *recorded) []resource.Problem {
	p := resource.NewProblems("")
	resource.Check(r.message, "", s, protoregistry.GlobalTypes, p)
	return slices.DeleteFunc(slices.Clone(p.All()), func(x resource.Problem) bool { return x.Severity != resource.Error })
}

// A lack is something that Weft does not have, and how often istiod wants it.
type lack struct {
	what      string
	places    int
	resources map[string]bool
	sets      map[string]bool
}

// missingForIstio is the table of what is missing for Istio, by how many resources need it.
func missingForIstio(t *testing.T, s resource.Support, all []*istioSet) {
	lacks := map[string]*lack{}
	total, bad := 0, 0
	for _, set := range all {
		total += len(set.sent)
		for i := range set.sent {
			r, problems := &set.sent[i], set.errors[i]
			if len(problems) > 0 {
				bad++
			}
			needs := make([]string, 0, len(problems))
			for _, p := range problems {
				needs = append(needs, lackOf(r.url, p))
			}
			eachDiscovered(r.tree, s, func(name string) bool {
				needs = append(needs, "extension "+name+" by config_discovery")
				return true
			})
			for _, what := range needs {
				l := lacks[what]
				if l == nil {
					l = &lack{what: what, resources: map[string]bool{}, sets: map[string]bool{}}
					lacks[what] = l
				}
				l.places++
				l.sets[set.name] = true
				l.resources[set.name+r.url+r.name] = true
			}
		}
	}
	table := slices.SortedFunc(maps.Values(lacks), func(a, b *lack) int {
		return cmp.Or(cmp.Compare(len(b.resources), len(a.resources)), cmp.Compare(b.places, a.places), cmp.Compare(a.what, b.what))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d resources need something that is missing.\n\nresources  places  recordings  what\n", bad, total)
	for _, l := range table {
		fmt.Fprintf(&b, "%9d %7d %11d  %s\n", len(l.resources), l.places, len(l.sets), l.what)
	}
	golden(t, filepath.Join("testdata", "istio-missing.golden"), b.String())
}

var (
	indexes    = regexp.MustCompile(`\[[^\]]*\]`)
	extensions = regexp.MustCompile(`\(type (\S+)\) is not supported`)
)

// lackOf is a problem without what is particular to the place where it is.
func lackOf(url string, p resource.Problem) string {
	if m := extensions.FindStringSubmatch(p.Message); m != nil {
		return "extension " + m[1]
	}
	path := strings.ReplaceAll(indexes.ReplaceAllString(string(p.Path), "[]"), "default_filter_chain.", "filter_chains[].")
	kind := url[strings.LastIndexByte(url, '.')+1:]
	return fmt.Sprintf("%s %s: %s", kind, path, p.Message)
}

// gateway serves, as far as Weft has what it needs.
func (x *istioSet) gateway(t *testing.T, delta bool) {
	const httpbin = "outbound|8000||httpbin.default.svc.cluster.local"
	m := startIstio(t, delta)
	port := freePort(t)
	m.plane.Update(func(e *kit.Edit) {
		serve(m, e, x.sent)
		for _, r := range x.sent {
			if l, ok := proto.Clone(r.message).(*listenerv3.Listener); ok {
				l.Address = kit.Address(fmt.Sprintf("127.0.0.1:%d", port))
				e.Set(r.name, l)
			}
		}
		e.Set(httpbin, kit.Assignment(httpbin, fmt.Sprintf("127.0.0.1:%d", originPort(t))))
	})
	client := &http.Client{Timeout: patience, Transport: m.transport()}
	get := func(host, path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(body)
	}
	m.eventually("the gateway serves", func() bool {
		status, body := get("a.example.com", "/x/echo")
		return status == http.StatusOK && strings.Contains(body, "GET /echo HTTP/1.1") && strings.Contains(body, "X-Envoy-Attempt-Count: 1")
	})
	for _, test := range []struct {
		host, path string
		status     int
	}{{"a.example.com:8080", "/x/echo", 200}, {"b.example.com", "/x/echo", 404}, {"a.example.com", "/xy", 404}} {
		if status, body := get(test.host, test.path); status != test.status {
			t.Errorf("%s%s: %d %s, want %d", test.host, test.path, status, body, test.status)
		}
	}
}

// reduced takes out of resources what is not supported, until nothing is found. What remains bad stays as it was.
func reduced(t *testing.T, s resource.Support, all recording) recording {
	t.Helper()
	types := newRawTypes()
	for i := range all {
		r := &all[i]
		eachDiscovered(r.tree, s, func(string) bool { return false })
		for range 12 {
			r.tree = sweep(r.tree)
			r.message = r.message.ProtoReflect().New().Interface()
			if err := types.read(r.tree, r.message); err != nil {
				t.Fatalf("%s %q: %v", r.url, r.name, err)
			}
			problems := errorsIn(s, r)
			if len(problems) == 0 {
				break
			}
			for _, p := range problems {
				cut(r.tree, p.Path.Steps(), p.Kind)
			}
		}
	}
	return all
}

// eachDiscovered calls f with the types that filters which are delivered by name may have and that are not supported, and takes those
// filters out of the JSON tree for which it returns false.
func eachDiscovered(tree any, s resource.Support, f func(name string) (keep bool)) {
	switch x := tree.(type) {
	case []any:
		for _, v := range x {
			eachDiscovered(v, s, f)
		}
	case map[string]any:
		filters, _ := x["http_filters"].([]any)
		for i, v := range filters {
			for _, name := range undiscoverable(v, s) {
				if !f(name) {
					filters[i] = gone{}
				}
			}
		}
		for _, v := range x {
			eachDiscovered(v, s, f)
		}
	}
}

// undiscoverable are the types of a filter that is delivered by name that are not supported.
func undiscoverable(filter any, s resource.Support) (out []string) {
	entry, _ := filter.(map[string]any)
	discovery, _ := entry["config_discovery"].(map[string]any)
	urls, _ := discovery["type_urls"].([]any)
	for _, u := range urls {
		url, _ := u.(string)
		if name := protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]); s[name] == nil {
			out = append(out, string(name))
		}
	}
	return out
}

// gone stands for what is cut out of a JSON tree until it is swept.
type gone struct{}

// cut marks the value at a place: for an extension what holds it, and where there is nothing, because it is that which is wrong, what is
// around.
func cut(tree any, steps []resource.Step, kind resource.Kind) {
	if n := len(steps); kind == resource.UnsupportedExtension && n > 1 && steps[n-1].Name == "typed_config" {
		steps = steps[:n-1]
	}
	for len(steps) > 0 && !mark(tree, steps) {
		steps = steps[:len(steps)-1]
	}
}

// mark marks the value at a place, if there is one.
func mark(tree any, steps []resource.Step) bool {
	for i, step := range steps {
		last := i == len(steps)-1
		switch x := tree.(type) {
		case map[string]any:
			v, ok := x[step.Name]
			if ok && last {
				x[step.Name] = gone{}
			}
			if !ok || last {
				return ok
			}
			tree = v
		case []any:
			if step.Index >= len(x) {
				return false
			}
			if last {
				x[step.Index] = gone{}
				return true
			}
			tree = x[step.Index]
		default:
			return tree == (gone{}) // with all that is in it
		}
	}
	return false
}

// sweep takes out what is marked.
func sweep(tree any) any {
	switch x := tree.(type) {
	case map[string]any:
		for k, v := range x {
			if v = sweep(v); v == (gone{}) {
				delete(x, k)
			} else {
				x[k] = v
			}
		}
	case []any:
		out := x[:0]
		for _, v := range x {
			if v = sweep(v); v != (gone{}) {
				out = append(out, v)
			}
		}
		return out
	}
	return tree
}
