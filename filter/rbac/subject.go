package rbac

import (
	"net/netip"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
)

// A Subject is what rules are asked about: a request, or a connection.
type Subject struct {
	Conn     *conn.Info                // never nil
	Request  *message.Request          // nil: the subject is the connection
	Remote   netip.Addr                // the client, where a trusted x-forwarded-for tells it; zero: the connection's peer
	Metadata map[string]map[string]any // dynamic metadata of the request; the connection's count where it has none of a namespace
	Route    map[string]map[string]any // metadata of the route
	State    map[string]string         // filter state of the request

	path string // of the request, without its query
}

// remote is whom Envoy calls the downstream's remote address.
func (s *Subject) remote() netip.Addr {
	if s.Remote.IsValid() {
		return s.Remote
	}
	return s.Conn.Remote.Addr()
}

// serverName is what the client asked for in its handshake; "" where it did not, or there was none.
func (s *Subject) serverName() string {
	if s.Conn.ServerName == "" && s.Conn.TLS != nil {
		return s.Conn.TLS.SNI
	}
	return s.Conn.ServerName
}

// dynamic returns the metadata to look for a namespace in.
func (s *Subject) dynamic(namespace string) map[string]map[string]any {
	if _, ok := s.Metadata[namespace]; ok {
		return s.Metadata
	}
	fields, ok := s.Conn.Metadata[namespace]
	if !ok {
		return nil
	}
	values := make(map[string]any, len(fields))
	for k, v := range fields {
		values[k] = v
	}
	return map[string]map[string]any{namespace: values}
}
