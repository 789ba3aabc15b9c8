package format

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/observe"
)

// An address is where a connection begins or ends: an IP address with its port, or the path of a unix socket.
type address struct {
	ip   netip.AddrPort
	path string
}

// The parts of an address that an operator prints.
const (
	addressWhole uint8 = iota
	addressIP
	addressPort
)

// addressOperators print addresses. Immutable.
var addressOperators = addresses(map[string]func(e *observe.Entry) address{
	"UPSTREAM_LOCAL":           func(e *observe.Entry) address { return ofRecord(e, upstreamLocal) },
	"UPSTREAM_REMOTE":          func(e *observe.Entry) address { return ofRecord(e, upstreamHost) },
	"DOWNSTREAM_LOCAL":         downstreamLocal,
	"DOWNSTREAM_DIRECT_LOCAL":  downstreamDirectLocal,
	"DOWNSTREAM_REMOTE":        downstreamRemote,
	"DOWNSTREAM_DIRECT_REMOTE": downstreamDirectRemote,
})

// addresses defines the three operators of each address, and UPSTREAM_HOST.
func addresses(of map[string]func(e *observe.Entry) address) map[string]definition {
	all := map[string]definition{"UPSTREAM_HOST": addressOperator(func(e *observe.Entry) address { return ofRecord(e, upstreamHost) }, addressWhole)}
	for name, get := range of {
		all[name+"_ADDRESS"] = addressOperator(get, addressWhole)
		all[name+"_ADDRESS_WITHOUT_PORT"] = addressOperator(get, addressIP)
		all[name+"_PORT"] = addressOperator(get, addressPort)
	}
	return all
}

func addressOperator(get func(e *observe.Entry) address, which uint8) definition {
	kind := kindString
	if which == addressPort {
		kind = kindNumber
	}
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runAddress, kind: kind, address: get, flags: which}, nil
	}}
}

func runAddress(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	a := o.address(e)
	if !a.ip.IsValid() {
		return append(dst, a.path...), a.path != "" && o.flags != addressPort
	}
	switch o.flags {
	case addressIP:
		return a.ip.Addr().AppendTo(dst), true
	case addressPort:
		return strconv.AppendUint(dst, uint64(a.ip.Port()), 10), true
	}
	return a.ip.AppendTo(dst), true
}

func ofRecord(e *observe.Entry, get func(r *observe.Record) address) address {
	if e.Record == nil {
		return address{}
	}
	return get(e.Record)
}

func upstreamHost(r *observe.Record) address  { return address{r.UpstreamHost, r.UpstreamPath} }
func upstreamLocal(r *observe.Record) address { return address{ip: r.UpstreamLocal} }

func downstreamLocal(e *observe.Entry) address {
	if e.Conn == nil {
		return address{}
	}
	return address{e.Conn.Local, e.Conn.LocalPath}
}

func downstreamDirectLocal(e *observe.Entry) address {
	if e.Conn == nil {
		return address{}
	}
	return address{e.Conn.DirectLocal, e.Conn.LocalPath}
}

func downstreamRemote(e *observe.Entry) address {
	if e.Record != nil && e.Record.Remote.IsValid() {
		return address{ip: e.Record.Remote}
	}
	if e.Conn == nil {
		return address{}
	}
	return address{ip: e.Conn.Remote}
}

func downstreamDirectRemote(e *observe.Entry) address {
	if e.Conn == nil {
		return address{}
	}
	return address{ip: e.Conn.DirectRemote}
}

// appendHostName appends the name of the upstream endpoint, its address when it has none.
func appendHostName(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	if e.Record == nil {
		return dst, false
	}
	name := e.Record.UpstreamName
	if name == "" {
		a := upstreamHost(e.Record)
		switch {
		case !a.ip.IsValid():
			return append(dst, a.path...), a.path != ""
		case o.flags == addressIP:
			return a.ip.Addr().AppendTo(dst), true
		}
		return a.ip.AppendTo(dst), true
	}
	if o.flags == addressIP {
		name = withoutPort(name)
	}
	return append(dst, name...), true
}

func withoutPort(host string) string {
	at := strings.LastIndexByte(host, ':')
	if at < 0 || strings.IndexByte(host, ']') > at || strings.IndexByte(host, ':') != at && host[0] != '[' {
		return host
	}
	return host[:at]
}
