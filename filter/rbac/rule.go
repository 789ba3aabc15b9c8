package rbac

import (
	"net/netip"

	"github.com/weftproxy/weft/match"
)

// A kind is a form of Permission or Principal.
type kind uint8

const (
	always   kind = iota
	all           // every rule of set
	some          // at least one rule of set
	inverted      // not the only rule of set
	header
	path
	template
	destinationAddr
	destinationPort
	sourceAddr
	directAddr
	remoteAddr
	serverName
	dynamicMetadata
	routeMetadata
	authenticated
	validated
	stateText
	stateAddr
)

// A rule is a compiled Permission or Principal. Immutable.
type rule struct {
	kind     kind
	invert   bool // stateAddr
	from, to int  // destinationPort: from <= port < to
	set      []rule
	header   *match.Header
	text     *match.String // nil: authenticated by any name
	template *match.Template
	addrs    *match.CIDRs
	metadata *match.Metadata
	san      *san   // nil: any
	key      string // the namespace of metadata, the name of filter state
}

// simple returns the only rule of a set in its place.
func (r rule) simple() rule {
	if len(r.set) == 1 {
		return r.set[0]
	}
	return r
}

// eval asks the rule about s. It allocates nothing but for metadata that only the connection has.
func (r *rule) eval(s *Subject) verdict {
	switch r.kind {
	case always:
		return yes
	case all:
		return r.evalAll(s)
	case some:
		return r.evalSome(s)
	case inverted:
		return r.set[0].eval(s).not()
	case destinationAddr:
		return r.inside(s.Conn.Local.Addr())
	case destinationPort:
		return r.port(s.Conn.Local)
	case sourceAddr:
		return r.inside(s.Conn.Remote.Addr())
	case directAddr:
		return r.inside(s.Conn.DirectRemote.Addr())
	case remoteAddr:
		return r.inside(s.remote())
	case serverName:
		return verdictOf(r.text.Match(s.serverName()))
	case dynamicMetadata:
		return verdictOf(r.metadata.Match(s.dynamic(r.key)))
	case authenticated, validated:
		return r.identity(s.Conn.TLS)
	}
	return r.evalHTTP(s)
}

// evalAll is the least verdict of the set.
func (r *rule) evalAll(s *Subject) verdict {
	least := yes
	for i := range r.set {
		if least = min(least, r.set[i].eval(s)); least == no {
			break
		}
	}
	return least
}

// evalSome is the greatest verdict of the set.
func (r *rule) evalSome(s *Subject) verdict {
	greatest := no
	for i := range r.set {
		if greatest = max(greatest, r.set[i].eval(s)); greatest == yes {
			break
		}
	}
	return greatest
}

// evalHTTP asks a rule about what only requests have.
func (r *rule) evalHTTP(s *Subject) verdict {
	if s.Request == nil {
		return unknown
	}
	switch r.kind {
	case header:
		return verdictOf(r.header.MatchRequest(s.Request))
	case path: // a request without a path (CONNECT) has none that matches
		return verdictOf(s.path != "" && r.text.Match(s.path))
	case template:
		return verdictOf(r.template.Match(s.path))
	case routeMetadata:
		return verdictOf(r.metadata.Match(s.Route))
	case stateText, stateAddr:
		return r.state(s)
	}
	return unknown
}

func (r *rule) inside(a netip.Addr) verdict {
	if !a.IsValid() {
		return unknown
	}
	return verdictOf(r.addrs.Contains(a))
}

func (r *rule) port(a netip.AddrPort) verdict {
	if !a.IsValid() {
		return unknown
	}
	return verdictOf(r.from <= int(a.Port()) && int(a.Port()) < r.to)
}

// state looks at the filter state. What is not there may be of a filter that Weft does not have.
func (r *rule) state(s *Subject) verdict {
	v, ok := s.State[r.key]
	if !ok {
		return unknown
	}
	if r.kind == stateText {
		return verdictOf(r.text.Match(v))
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		ap, err := netip.ParseAddrPort(v)
		if err != nil {
			return unknown
		}
		a = ap.Addr()
	}
	return verdictOf(r.addrs.Contains(a) != r.invert)
}
