// Package observe is what Weft tells about its work: the Record of an exchange, and below it statistics, access logs and traces.
package observe

import (
	"maps"
	"net/netip"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
)

// A Record holds the facts about one exchange (or one TCP connection) that access logs, statistics and spans tell. Times are
// scope.Now values; 0 means that it has not happened. Strings are of the configuration, or constants, unless said otherwise.
type Record struct {
	Began     time.Time // wall clock, for START_TIME
	Start     int64     // scope.Now at the first byte of the request (of the connection, for TCP)
	Protocol  string    // "HTTP/1.1" ...; "" for TCP
	Status    int       // final status sent downstream; 0: none
	Flags     Flag
	Details   string // RESPONSE_CODE_DETAILS
	Terminate string // CONNECTION_TERMINATION_DETAILS

	Route, VirtualHost, VirtualCluster string
	Cluster                            string // name of the upstream cluster
	ClusterAlt                         string // its alt_stat_name, "" when there is none
	UpstreamHost                       netip.AddrPort
	UpstreamPath                       string // unix sockets: the upstream's path
	UpstreamName                       string // host name of the upstream endpoint
	UpstreamLocal                      netip.AddrPort
	UpstreamProtocol                   string
	UpstreamTLS                        *conn.TLS // of the upstream connection; nil when that is not TLS
	UpstreamFailure                    string    // UPSTREAM_TRANSPORT_FAILURE_REASON, owned by the record
	DownstreamFailure                  string    // DOWNSTREAM_TRANSPORT_FAILURE_REASON, owned by the record
	UpstreamConnID                     uint64
	Attempts                           int // upstream requests tried

	RequestDone   int64 // last byte of the request received
	UpstreamBegan int64 // first byte sent upstream
	UpstreamSent  int64 // last byte sent upstream
	UpstreamFirst int64 // first byte of the response received from upstream
	UpstreamDone  int64 // last byte received from upstream
	FirstSent     int64 // first byte of the response sent downstream
	Done          int64 // last byte sent downstream

	BytesIn, BytesOut                 uint64 // body bytes received and sent downstream (all bytes, for TCP)
	HeadIn, HeadOut                   uint64 // encoded header bytes downstream
	WireIn, WireOut                   uint64
	UpstreamBytesIn, UpstreamBytesOut uint64 // body bytes received from and sent to the upstream
	UpstreamWireIn, UpstreamWireOut   uint64
	UpstreamHeadIn, UpstreamHeadOut   uint64

	Remote       netip.AddrPort // the client, when a trusted x-forwarded-for tells it; zero: the connection's peer
	OriginalPath string         // as the client sent it, when it was rewritten; borrowed
	RequestID    string         // borrowed
	Internal     bool           // the request is internal in Envoy's sense
	HealthCheck  bool
	Metadata     map[string]map[string]any // dynamic metadata: namespace → key → value; nil until used; see AddMetadata
	FilterState  map[string]string         // nil until used
}

// AddMetadata adds m (namespace → key → value) to the dynamic metadata; a key that is there already gets the new value. Nobody changes such
// maps once they are in a record: the record keeps m itself where it had none, so that a filter may add the same maps to every record.
func (r *Record) AddMetadata(m map[string]map[string]any) {
	if r.Metadata == nil {
		r.Metadata = m
		return
	}
	all := maps.Clone(r.Metadata)
	for namespace, fields := range m {
		if old := all[namespace]; old != nil {
			old = maps.Clone(old)
			maps.Copy(old, fields)
			fields = old
		}
		all[namespace] = fields
	}
	r.Metadata = all
}

// An Entry is what access logs and header formatters look at: a Record with the messages it is about. Fields may be nil where
// there is no such message.
type Entry struct {
	Record   *Record
	Conn     *conn.Info
	Request  *message.Request
	Response *message.Response
	Trailer  *message.Header // of the response
	Local    string          // body of a local reply: %LOCAL_REPLY_BODY%
	Metadata RouteMetadata
	Type     LogType // when the entry is written: %ACCESS_LOG_TYPE%
}

// RouteMetadata gives the metadata of configuration objects, for %METADATA(...)%. A nil map is empty.
type RouteMetadata struct {
	Route, Cluster, Host map[string]map[string]any
}
