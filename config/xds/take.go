package xds

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// take gives the hub what a source has sent, and returns what was rejected of it: the rest is in force. What nobody wants is left aside.
// A resource whose bytes are those in force is not decoded again. Responses about the same type must not be taken at the same time by
// different goroutines in an order that matters; they take effect one after the other.
func (c *Client) take(s subscription.Source, r *response) []resource.Rejection {
	k := kindOfURL(r.typeURL)
	if k == nil {
		key := resource.Key{Type: "resource type", Name: r.typeURL}
		return []resource.Rejection{problem(key, resource.UnsupportedExtension, "is not known")}
	}
	l := c.ledgerOf(s)
	t := &taking{
		client: c, ledger: l, shelf: l.shelf(k), kind: k, source: s, resp: r,
		sent: make(map[string]int, len(r.items)),
	}
	t.shelf.taking.Lock()
	defer t.shelf.taking.Unlock()
	if t.shelf.checker == nil {
		t.shelf.checker = resource.NewChecker(c.o.Support, protoregistry.GlobalTypes)
	}
	t.checker = t.shelf.checker
	if !c.cache.admit(l, k, r) {
		return nil
	}
	t.read()
	t.collections()
	t.singles()
	if c.o.Taken != nil {
		c.o.Taken()
	}
	c.cache.note(l, k, r)
	return t.rejected
}

// A taking is one response on its way into force.
type taking struct {
	client *Client
	ledger *ledger
	shelf  *shelf
	kind   *kind
	source subscription.Source
	resp   *response

	checker  *resource.Checker
	sent     map[string]int // how often each name is in the response
	unnamed  bool           // something was broken that has no name
	taken    []took
	broken   []resource.Rejection // could not be read, by name
	rejected []resource.Rejection
}

// A took is a resource that could be read.
type took struct {
	entry   *entry
	singles []string // the names that want it on its own
	globs   []string
	ttl     time.Duration
	reject  bool // somebody has rejected it
}

// problem returns the rejection of a resource for one reason.
func problem(key resource.Key, kind resource.Kind, format string, args ...any) resource.Rejection {
	return resource.Rejection{Key: key, Problems: []resource.Problem{
		{Resource: key.String(), Kind: kind, Message: fmt.Sprintf(format, args...)},
	}}
}

// read sorts the items into what can be delivered and what is broken.
func (t *taking) read() {
	names := make([]string, len(t.resp.items))
	for i := range t.resp.items {
		it := &t.resp.items[i]
		if names[i] = it.name; names[i] == "" && it.body.GetTypeUrl() == t.kind.url {
			names[i] = nameIn(it.body.GetValue())
		}
		t.sent[names[i]]++
	}
	removed := make(map[string]bool, len(t.resp.removed))
	for _, name := range t.resp.removed {
		removed[name] = true
	}
	told := map[string]bool{} // duplicates
	for i := range t.resp.items {
		it, name := &t.resp.items[i], names[i]
		key := resource.Key{Type: t.kind.name, Name: name}
		switch {
		case name == "" || it.err != nil || it.body != nil && it.body.GetTypeUrl() != t.kind.url:
			t.fail(t.unreadable(i, key))
		case len(it.problems) > 0:
			t.fail(resource.Rejection{Key: key, Problems: it.problems})
		case t.sent[name] > 1 || removed[name]:
			if !told[name] {
				told[name] = true
				t.fail(problem(key, resource.Invalid, "duplicate %s found", key))
			}
		default:
			t.item(it, key)
		}
	}
}

// unreadable says why an item is not even a resource of its response's type.
func (t *taking) unreadable(i int, key resource.Key) resource.Rejection {
	it := &t.resp.items[i]
	at := "resources[" + strconv.Itoa(i) + "]"
	switch {
	case it.err != nil:
		return problem(key, resource.Syntax, "%s is not a valid envoy.service.discovery.v3.Resource: %v", at, it.err)
	case it.body != nil && it.body.GetTypeUrl() != t.kind.url:
		return problem(key, resource.Invalid, "%s is a %q, and the response is about %q", at, clip(it.body.GetTypeUrl()), t.kind.url)
	default:
		return problem(key, resource.Invalid, "%s has no name", at)
	}
}

// clip bounds what is repeated of foreign text.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// fail notes what is broken. What has no name is rejected by nobody else.
func (t *taking) fail(r resource.Rejection) {
	if r.Key.Name == "" {
		t.unnamed = true
		t.rejected = append(t.rejected, r)
		return
	}
	t.broken = append(t.broken, r)
}

// item reads one resource that has a name of its own.
func (t *taking) item(it *item, key resource.Key) {
	singles, globs := t.ledger.askers(t.shelf, key.Name, it.aliases)
	if len(singles)+len(globs) == 0 && !t.ledger.kept(t.shelf, key.Name) {
		t.client.stats.ignored.Inc()
		return
	}
	have := t.ledger.get(t.shelf, key.Name)
	if it.body == nil {
		if have != nil {
			t.taken = append(t.taken, took{entry: have, singles: singles, globs: globs, ttl: it.ttl})
		}
		return
	}
	e := &entry{sum: maphash.Bytes(t.client.seed, it.body.GetValue())}
	if have != nil && have.sum == e.sum {
		if e.res = have.res; e.res.Version != it.version {
			again := *have.res
			again.Version = it.version
			e.res = &again
		}
		e.parts = have.parts
	} else {
		res, rejection := t.decode(it, key, have, e)
		if rejection != nil {
			t.fail(*rejection)
			return
		}
		e.res = res
	}
	t.taken = append(t.taken, took{entry: e, singles: singles, globs: globs, ttl: it.ttl})
}

// decode returns the resource that an item holds, or why it is none that works here. have is what is in force, and e what is to be.
func (t *taking) decode(it *item, key resource.Key, have, e *entry) (*resource.Resource, *resource.Rejection) {
	c, k := t.client, t.kind
	p := resource.NewProblems(key.String())
	res, err := t.parse(it.body.GetValue(), key, have, e, p)
	if err != nil {
		r := problem(key, resource.Syntax, "%v", err)
		return nil, &r
	}
	res.Version = it.version
	if !c.o.RejectUnknown {
		p.Edit(func(x resource.Problem) resource.Problem {
			if x.Kind == resource.UnknownField && x.Severity == resource.Error {
				x.Severity = resource.Warning
				c.stats.unknown.Inc()
			}
			return x
		})
	}
	inner := nameIn(it.body.GetValue())
	if named := it.name != "" && inner != it.name && !strings.HasPrefix(it.name, "xdstp://"); named && k.whole {
		p.Errorf("name", "", "is %q, and the response names the resource %q", clip(inner), clip(it.name))
	}
	if p.HasErrors() {
		return nil, &resource.Rejection{Key: key, Problems: p.All(), Resource: res}
	}
	return res, nil
}

// collections delivers to those who want any number of resources.
func (t *taking) collections() {
	t.ledger.mu.Lock()
	globs := make([]string, 0, len(t.shelf.globs))
	for g := range t.shelf.globs {
		globs = append(globs, g)
	}
	t.ledger.mu.Unlock()
	slices.Sort(globs)
	for _, g := range globs {
		t.collection(g)
	}
}

// collection delivers to those who want one collection.
func (t *taking) collection(glob string) {
	d := subscription.Delta{Version: t.resp.version, Full: t.full()}
	for i := range t.taken {
		if slices.Contains(t.taken[i].globs, glob) {
			d.Set = append(d.Set, t.taken[i].entry.res)
		}
	}
	for _, b := range t.broken {
		if matches(glob, b.Key.Name) {
			d.Broken = append(d.Broken, b)
		}
	}
	for _, name := range t.resp.removed {
		if matches(glob, name) && t.sent[name] == 0 {
			d.Remove = append(d.Remove, name)
		}
	}
	nothing := len(d.Set)+len(d.Broken)+len(d.Remove) == 0
	if nothing && !d.Full && len(t.resp.items)+len(t.resp.removed) > 0 {
		return // it is about others
	}
	rejected, _ := t.client.o.Hub.DeliverAll(t.source, resource.Key{Type: t.kind.name, Name: glob}, d)
	bad := make(map[string]bool, len(rejected))
	for _, r := range rejected {
		bad[r.Key.Name] = true
	}
	t.rejected = append(t.rejected, rejected...)
	for i := range t.taken {
		if slices.Contains(t.taken[i].globs, glob) && bad[t.taken[i].entry.res.Name] {
			t.taken[i].reject = true
		}
	}
	gone := d.Remove
	if d.Full {
		for name := range t.ledger.members(t.shelf, glob) {
			if t.sent[name] == 0 {
				gone = append(gone, name)
			}
		}
	}
	t.ledger.drop(t.shelf, slices.DeleteFunc(gone, func(name string) bool { return bad[name] })...)
}

// full reports whether what the response leaves out is no more. Nothing is removed because of a response that is partly unreadable, nor
// by one that only says that things are as they were.
func (t *taking) full() bool {
	if t.resp.delta || !t.kind.whole || t.unnamed {
		return false
	}
	for i := range t.resp.items {
		if t.resp.items[i].body != nil {
			return true
		}
	}
	return len(t.resp.items) == 0
}

// singles delivers what is wanted by its name, and notes what is in force now.
func (t *taking) singles() {
	for i := range t.taken {
		x := &t.taken[i]
		for _, name := range x.singles {
			res := x.entry.res
			if name != res.Name {
				alias := *res
				alias.Name, res = name, &alias
			}
			problems, _ := t.client.o.Hub.Deliver(t.source, res)
			if hasErrors(problems) {
				x.reject = true
				t.rejected = append(t.rejected, resource.Rejection{Key: res.Key, Problems: problems})
			}
		}
		if !x.reject {
			t.ledger.put(t.shelf, x.entry.res.Name, x.entry)
			t.expire(x)
		}
	}
	for _, b := range t.broken {
		singles, globs := t.ledger.askers(t.shelf, b.Key.Name, nil)
		if len(singles) > 0 {
			r := b.Resource
			if r == nil {
				r = &resource.Resource{Key: b.Key, Version: t.resp.version}
			}
			t.client.o.Hub.Reject(t.source, r, b.Problems)
		}
		if len(globs) == 0 { // otherwise it is among the rejected already
			t.rejected = append(t.rejected, b)
		}
	}
	for _, name := range t.resp.removed {
		if t.sent[name] > 0 {
			continue
		}
		if singles, _ := t.ledger.askers(t.shelf, name, nil); len(singles) > 0 {
			t.client.o.Hub.Remove(t.source, resource.Key{Type: t.kind.name, Name: name})
		}
		t.ledger.drop(t.shelf, name)
	}
}

func hasErrors(problems []resource.Problem) bool {
	return slices.ContainsFunc(problems, func(p resource.Problem) bool { return p.Severity == resource.Error })
}
