package listener

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/weftproxy/weft/conn"
)

// The matcher is Envoy's: nested tables in the order of precedence of FilterChainMatch's criteria. At each level the most specific entry
// is taken, and there is no way back: when nothing below it matches, it is the default filter chain.
type (
	matcher        map[uint16]*ranges[nameTable]    // by destination port, 0 any; then by destination address
	nameTable      map[string]transportTable        // by server name, ".example.com" for "*.example.com", "" any
	transportTable map[string]alpnTable             // by transport protocol, "" any
	alpnTable      map[string]*ranges[*sourceTable] // by application protocol, "" any; then by directly connected source address
	sourceTable    [3]*ranges[portTable]            // by source_type; then by source address
	portTable      map[uint16]*Chain                // by source port, 0 any
)

// The values of source_type.
const (
	anySource = iota
	localSource
	externalSource
)

// criteria are those of one FilterChainMatch. An empty list matches everything.
type criteria struct {
	port          uint16
	ranges        []netip.Prefix
	names         []string // lower case
	transport     string
	alpn          []string
	directSources []netip.Prefix
	sourceType    int
	sources       []netip.Prefix
	sourcePorts   []uint16
}

var errOverlap = errors.New("multiple filter chains with overlapping matching rules are defined")

// add puts a chain into the tables.
func (m matcher) add(c *criteria, chain *Chain) error {
	if m[c.port] == nil {
		m[c.port] = &ranges[nameTable]{}
	}
	for _, prefix := range orAny(c.ranges) {
		names := m[c.port].at(prefix, func() nameTable { return nameTable{} })
		for _, name := range orAny(c.names) {
			if strings.HasPrefix(name, "*.") {
				name = name[1:]
			}
			if names[name] == nil {
				names[name] = transportTable{}
			}
			if names[name][c.transport] == nil {
				names[name][c.transport] = alpnTable{}
			}
			for _, alpn := range orAny(c.alpn) {
				if err := names[name][c.transport].add(alpn, c, chain); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t alpnTable) add(alpn string, c *criteria, chain *Chain) error {
	if t[alpn] == nil {
		t[alpn] = &ranges[*sourceTable]{}
	}
	for _, direct := range orAny(c.directSources) {
		types := t[alpn].at(direct, func() *sourceTable { return &sourceTable{} })
		if types[c.sourceType] == nil {
			types[c.sourceType] = &ranges[portTable]{}
		}
		for _, source := range orAny(c.sources) {
			ports := types[c.sourceType].at(source, func() portTable { return portTable{} })
			for _, port := range orAny(c.sourcePorts) {
				if ports[port] != nil {
					return errOverlap
				}
				ports[port] = chain
			}
		}
	}
	return nil
}

// orAny is the list, or the zero value that stands for anything.
func orAny[T any](list []T) []T {
	if len(list) == 0 {
		return make([]T, 1)
	}
	return list
}

// nowhere stands for the address of a unix socket: only tables without ranges match it.
var nowhere = netip.AddrFrom4([4]byte{255, 255, 255, 255}) // immutable

// match returns the chain for a connection, nil when there is none.
func (m matcher) match(info *conn.Info) *Chain {
	byAddress, ok := m[info.Local.Port()]
	if !ok || !info.Local.IsValid() {
		if byAddress, ok = m[0]; !ok {
			return nil
		}
	}
	names, ok := byAddress.find(orNowhere(info.Local.Addr()))
	if !ok {
		return nil
	}
	transports, ok := names.find(info.ServerName)
	if !ok {
		return nil
	}
	protocols, ok := transports[info.TransportProtocol]
	if !ok {
		if protocols, ok = transports[""]; !ok {
			return nil
		}
	}
	direct, ok := protocols.find(info.ALPN)
	if !ok {
		return nil
	}
	types, ok := direct.find(orNowhere(info.DirectRemote.Addr()))
	if !ok {
		return nil
	}
	return types.find(info)
}

func orNowhere(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return nowhere
	}
	return a
}

// find looks for the exact name, then for its suffixes, then for tables without a name.
func (t nameTable) find(name string) (transportTable, bool) {
	if v, ok := t[name]; ok {
		return v, true
	}
	for rest := name; ; {
		dot := strings.IndexByte(rest[min(1, len(rest)):], '.')
		if dot < 0 || dot+2 >= len(rest) {
			break
		}
		rest = rest[dot+1:]
		if v, ok := t[rest]; ok {
			return v, true
		}
	}
	v, ok := t[""]
	return v, ok
}

// find takes the first of the peer's protocols that is known here.
func (t alpnTable) find(offered []string) (*ranges[*sourceTable], bool) {
	for _, p := range offered {
		if v, ok := t[p]; ok {
			return v, true
		}
	}
	v, ok := t[""]
	return v, ok
}

func (t *sourceTable) find(info *conn.Info) *Chain {
	sources := t[anySource]
	if t[localSource] != nil || t[externalSource] != nil {
		want := externalSource
		if isLocal(info) {
			want = localSource
		}
		if t[want] != nil {
			sources = t[want]
		}
	}
	if sources == nil {
		return nil
	}
	ports, ok := sources.find(orNowhere(info.Remote.Addr()))
	if !ok {
		return nil
	}
	if c := ports[info.Remote.Port()]; c != nil {
		return c
	}
	return ports[0]
}

// isLocal is Envoy's SAME_IP_OR_LOOPBACK: the peer is this machine. As there, 127.0.0.1 and ::1 are the only loopback addresses.
func isLocal(info *conn.Info) bool {
	remote := info.Remote.Addr()
	return !remote.IsValid() || remote == loopback4 || remote == netip.IPv6Loopback() || remote == info.Local.Addr()
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // immutable
