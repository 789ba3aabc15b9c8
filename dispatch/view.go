package dispatch

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/upstream"
)

// A View is everything an exchange may look at, consistent with itself. Immutable.
type View struct {
	*state
	Clusters *upstream.Table
}

// A state is what the routes and filters of a connection manager are at one time. Immutable.
type state struct {
	routes  *routing
	filters []httpFilter
	common  []exchange.Filter                     // of routes without overrides
	special map[*exchange.Route][]exchange.Filter // of those whose overrides concern these filters
}

// match finds the route of a request, never nil.
func (s *state) match(r *message.Request, info *conn.Info, random uint64) *exchange.Route {
	return s.routes.of(r).table.Match(r, info, random)
}

// internal returns the internal_only_headers of the table that routes a request.
func (s *state) internal(r *message.Request) []string { return s.routes.of(r).internal }

// chain returns the filters compiled for a route.
func (s *state) chain(r *exchange.Route) []exchange.Filter {
	if len(r.Overrides) > 0 {
		if c := s.special[r]; c != nil {
			return c
		}
	}
	return s.common
}
