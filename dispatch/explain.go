package dispatch

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/route"
)

// An Explainer says what a connection manager would do with a request, without doing it.
type Explainer struct {
	cfg *Config
	b   *binding
}

// An Explanation is what Explain says.
type Explanation struct {
	Refused string // response code details of a request that does not get as far as routing; "" when it does
	Status  int    // of the refusal
	Path    string // as routing sees it
	route.Explanation
}

// Routes returns the compiled route table, an empty one when it has not come yet.
func (e *Explainer) Routes() *route.Table { return e.b.state().routes.table }

// StatPrefix returns the connection manager's stat_prefix.
func (e *Explainer) StatPrefix() string { return e.cfg.StatPrefix }

// Explain admits, cleans and routes a request as the data path does. It changes the request.
func (e *Explainer) Explain(r *message.Request, info *conn.Info, random uint64) Explanation {
	d := &Dispatcher{cfg: e.cfg}
	t := &stream{stats: &Stats{}}
	t.x.Begin(r, info, nil)
	resp, err := d.admit(t)
	switch {
	case err != nil:
		refused := exchange.AsError(err)
		return Explanation{Refused: refused.Details, Status: refused.Status, Path: r.Path}
	case resp != nil:
		return Explanation{Refused: "redirected to the normalized path", Status: resp.Status, Path: r.Path}
	}
	now := e.b.state()
	d.sanitize(&t.x, now.internal(r))
	return Explanation{Path: r.Path, Explanation: now.routes.of(r).explain(r, info, random)}
}

// explain is Explain of the table, with places that say which table they are in.
func (r *routing) explain(req *message.Request, info *conn.Info, random uint64) route.Explanation {
	x := r.table.Explain(req, info, random)
	switch {
	case r.scopes != nil:
		x.Reason = "the request has no scope key, or one of no scope"
	case r.absent:
		x.Reason = "the route configuration has not come from its source yet"
	}
	if r.origin == "" {
		return x
	}
	for _, at := range []*string{&x.HostPlace, &x.Place, &x.Target} {
		if *at != "" {
			*at = r.place(*at)
		}
	}
	x.TablePlace = r.place(x.TablePlace)
	for i := range x.Tried {
		x.Tried[i].Place = r.place(x.Tried[i].Place)
	}
	return x
}
