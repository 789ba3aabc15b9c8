package route

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// An Explanation says which route a request takes, and why. Places are resource paths; "" where there is nothing.
type Explanation struct {
	Table      string // name of the route configuration
	TablePlace string

	Authority string // what the virtual host was looked up by
	Host      string // name of the virtual host; "" and no HostPlace when there is none
	HostPlace string
	Domain    string // the domain that matched, as it is configured
	Kind      string // how: "exact", "suffix", "prefix", "any host"

	Tried   []Try // routes in order up to the one taken, at most maxTried of them
	Omitted int   // routes tried that are not listed

	Route   *exchange.Route // never nil
	Reason  string          // why this one
	Place   string
	Cluster string // where it would go; "" for answers and where a header should say and does not
	Target  string // place of the weighted cluster chosen; "" when there is no choice
}

// A Try is a route that a request was matched against.
type Try struct {
	Name, Place string
	Path        string // what it asks of the path
	Failed      string // the first condition that did not hold; "": the route was taken
}

// maxTried bounds the list of an Explanation.
const maxTried = 100

// Explain matches a request as Match does and says why. It is slow: it tries the routes one by one.
func (t *Table) Explain(r *message.Request, info *conn.Info, random uint64) Explanation {
	x := Explanation{Table: t.name, TablePlace: string(t.place), Authority: r.Authority, Route: t.none}
	if t.domains.ignorePort {
		x.Authority = withoutPort(r.Authority)
	}
	d := t.domains.find(r.Authority)
	if d == nil {
		x.Reason = "no virtual host has a domain for this authority"
		return x
	}
	h := d.host
	x.Host, x.HostPlace, x.Domain, x.Kind = h.name, string(h.place), d.text, d.kind
	if h.redirect != nil && h.insecure(r) {
		x.take(h.redirect, "require_tls: the request did not come over https", r, random)
		return x
	}
	q := t.query(r, info, random)
	for i := range h.entries {
		e := &h.entries[i]
		failed := e.failed(&q)
		x.note(Try{e.route.Name, e.route.Place, e.describe(), failed}, failed == "")
		if failed == "" {
			x.take(e.route, "the first route whose conditions all hold", r, random)
			return x
		}
	}
	x.Reason = "no route of the virtual host matches"
	return x
}

// note lists a try; the one that is taken always.
func (x *Explanation) note(t Try, taken bool) {
	if len(x.Tried) < maxTried || taken {
		x.Tried = append(x.Tried, t)
	} else {
		x.Omitted++
	}
}

func (x *Explanation) take(route *exchange.Route, why string, r *message.Request, random uint64) {
	x.Route, x.Reason, x.Place = route, why, route.Place
	if route.Target == nil {
		return
	}
	cluster, weighted := route.Target.Choose(r, random)
	x.Cluster = cluster
	if weighted != nil {
		x.Target = weighted.Place
	}
}
