package route

import (
	"hash/maphash"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/fair"
	"github.com/weftproxy/weft/resource"
)

// A source is a virtual host of a new table.
type source struct {
	cfg   *routev3.VirtualHost
	index int    // in virtual_hosts; -1: discovered
	name  string // of the resource, when discovered
	key   uint64 // of cfg's content; 0: not known
	host  *host  // of the table before; nil: to be compiled
}

// sources lists the virtual hosts of a table: those of the configuration and those discovered.
func sources(cfg *routev3.RouteConfiguration, found []*resource.Resource) []source {
	all := make([]source, 0, len(cfg.GetVirtualHosts())+len(found))
	for i, vh := range cfg.GetVirtualHosts() {
		fair.Turn(i)
		all = append(all, source{cfg: vh, index: i})
	}
	for _, r := range found {
		if vh, ok := r.Message.(*routev3.VirtualHost); ok {
			all = append(all, source{cfg: vh, index: -1, name: r.Name})
		}
	}
	return all
}

// place is where a virtual host is in a table whose place is at.
func (s *source) place(at resource.Path) resource.Path {
	if s.index < 0 {
		return at.Field("vhds").Key(s.name)
	}
	return at.Field("virtual_hosts").Index(s.index)
}

// previous is what a compiler takes from the table before. nil: nothing.
type previous struct {
	table *Table
	free  []int // IDs that no route has
}

// take returns an ID that the table before had and the new one has not.
func (v *previous) take() (id int, ok bool) {
	if v == nil || len(v.free) == 0 {
		return 0, false
	}
	id = v.free[len(v.free)-1]
	v.free = v.free[:len(v.free)-1]
	return id, true
}

// lookahead is how many virtual hosts in a row may be gone before the rest of them are hashed.
const lookahead = 8

// compare finds out what the table before has of the new one.
func (c *compiler) compare(prev *Table, all []source) {
	t := c.table
	if prev == nil || prev.outside || prev.name != t.name || prev.place != t.place {
		prev = nil
		t.seed = maphash.MakeSeed()
	} else {
		t.seed = prev.seed
	}
	h := hasher{seed: t.seed}
	t.frame = h.frame(c.cfg, c.validate)
	if prev != nil && (prev.frame != t.frame || t.frame == 0) {
		prev = nil
	}
	var messages []*routev3.VirtualHost
	if prev != nil {
		messages = prev.messages
	}
	for i, at := 0, 0; i < len(all); i++ { // messages are often the same but for a few
		fair.Turn(i)
		s := &all[i]
		same := -1
		for look := at; look < min(at+lookahead, len(messages)); look++ {
			if messages[look] == s.cfg {
				same = look
				break
			}
		}
		if same < 0 {
			s.key = h.sum(s.cfg)
			continue
		}
		s.key, at = prev.hosts[same].key, same+1
	}
	if prev == nil {
		return
	}
	pair(prev.hosts, all)
	need := 1
	for i := range all {
		if s := &all[i]; s.host != nil {
			need += len(s.host.routes)
		} else {
			need += len(s.cfg.GetRoutes()) + 1
		}
	}
	if need < len(prev.routes)/2 { // too many IDs that nothing would have
		for i := range all {
			all[i].host = nil
		}
		return
	}
	c.previous = &previous{table: prev}
	c.keep(all)
}

// pair finds the virtual hosts that a new table has in common with the one before.
func pair(hosts []*host, all []source) {
	taken, missing := make([]bool, len(hosts)), 0
	for i := range all { // most stay where they were
		if i < len(hosts) && hosts[i].key == all[i].key && all[i].usable(hosts[i]) {
			all[i].host, taken[i] = hosts[i], true
		} else {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	left := make(map[uint64]*host, len(hosts)-len(all)+missing)
	for i, h := range hosts {
		if !taken[i] {
			left[h.key] = h
		}
	}
	for i := range all {
		s := &all[i]
		if h := left[s.key]; s.host == nil && h != nil && s.usable(h) {
			s.host = h
			delete(left, s.key)
		}
	}
}

// usable reports whether a virtual host with the same key is the same: its message must be all that it was made of.
func (s *source) usable(h *host) bool {
	return s.key != 0 && !h.outside && (s.index >= 0) == (h.index >= 0)
}

// keep enters the routes of the virtual hosts that are kept.
func (c *compiler) keep(all []source) {
	t, prev := c.table, c.previous.table
	t.routes = make([]*exchange.Route, len(prev.routes))
	t.none = prev.none
	t.routes[t.none.ID] = t.none
	for i := range all {
		s := &all[i]
		if s.host == nil {
			continue
		}
		if s.host.index != s.index {
			s.host = s.host.moved(s.index, s.place(t.place))
		} else if s.index < 0 && s.host.resource != s.name {
			s.host = s.host.moved(-1, s.place(t.place))
			s.host.resource = s.name
		}
		for _, r := range s.host.routes {
			t.routes[r.ID] = r
		}
	}
	for id, r := range slices.Backward(t.routes) {
		if r == nil {
			c.previous.free = append(c.previous.free, id)
		}
	}
}

// fill gives what is left of the IDs to the route that says that nothing matched.
func (c *compiler) fill() {
	if c.previous == nil {
		return
	}
	for _, id := range c.previous.free {
		c.table.routes[id] = c.table.none
	}
}

// moved returns the virtual host as it is at another place. Its routes have the same IDs.
func (h *host) moved(index int, to resource.Path) *host {
	m := *h
	m.index, m.place = index, to
	move := func(text string) string {
		if rest, ok := strings.CutPrefix(text, string(h.place)); ok {
			return string(to) + rest
		}
		return text
	}
	routes := make(map[*exchange.Route]*exchange.Route, len(h.routes))
	m.routes = make([]*exchange.Route, len(h.routes))
	for i, r := range h.routes {
		m.routes[i] = movedRoute(r, move)
		routes[r] = m.routes[i]
	}
	m.redirect = routes[h.redirect]
	m.entries = slices.Clone(h.entries)
	for i := range m.entries {
		m.entries[i].route = routes[m.entries[i].route]
	}
	m.clusters = slices.Clone(h.clusters)
	for i := range m.clusters {
		m.clusters[i].at = resource.Path(move(string(m.clusters[i].at)))
	}
	m.domains = slices.Clone(h.domains)
	for i := range m.domains {
		m.domains[i].host = &m
	}
	return &m
}

func movedRoute(r *exchange.Route, move func(string) string) *exchange.Route {
	m := *r
	m.Place = move(r.Place)
	if r.Target != nil && len(r.Target.Weighted) > 0 {
		target := *r.Target
		target.Weighted = slices.Clone(target.Weighted)
		for i := range target.Weighted {
			target.Weighted[i].Place = move(target.Weighted[i].Place)
		}
		m.Target = &target
	}
	if len(r.Overrides) > 0 {
		m.Overrides = make(map[string]exchange.Override, len(r.Overrides))
		for name, o := range r.Overrides {
			o.Place = move(o.Place)
			m.Overrides[name] = o
		}
	}
	return &m
}

// A hasher hashes messages.
type hasher struct {
	seed    maphash.Seed
	scratch []byte
}

// sum hashes a message; 0: it cannot be serialized.
func (h *hasher) sum(m proto.Message) uint64 {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(h.scratch[:0], m)
	if err != nil {
		return 0
	}
	h.scratch = b
	return maphash.Bytes(h.seed, b)
}

// frame hashes what a table hands down to its virtual hosts.
func (h *hasher) frame(cfg *routev3.RouteConfiguration, validate bool) uint64 {
	frame := &routev3.RouteConfiguration{}
	to := frame.ProtoReflect()
	cfg.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if name := f.Name(); name != "virtual_hosts" && name != "vhds" {
			to.Set(f, v)
		}
		return true
	})
	frame.ValidateClusters = wrapperspb.Bool(validate)
	return h.sum(frame)
}
