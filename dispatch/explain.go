package dispatch

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/route"
)

// An Explainer says what a connection manager would do with a request, without doing it.
type Explainer struct {
	cfg    *Config
	routes *route.Table
}

// An Explanation is what Explain says.
type Explanation struct {
	Refused string // response code details of a request that does not get as far as routing; "" when it does
	Status  int    // of the refusal
	Path    string // as routing sees it
	route.Explanation
}

// Routes returns the compiled route table.
func (e *Explainer) Routes() *route.Table { return e.routes }

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
	d.sanitize(&t.x, e.routes.InternalOnlyHeaders())
	return Explanation{Path: r.Path, Explanation: e.routes.Explain(r, info, random)}
}
