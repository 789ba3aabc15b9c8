package format

import (
	"math/rand/v2"
	"strings"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe"
)

// stringOperators print strings of the record and the connection. Immutable.
var stringOperators = map[string]definition{
	"PROTOCOL":                            recordText(func(r *observe.Record) string { return r.Protocol }),
	"UPSTREAM_PROTOCOL":                   recordText(func(r *observe.Record) string { return r.UpstreamProtocol }),
	"ROUTE_NAME":                          recordText(func(r *observe.Record) string { return r.Route }),
	"VIRTUAL_HOST_NAME":                   recordText(func(r *observe.Record) string { return r.VirtualHost }),
	"VIRTUAL_CLUSTER_NAME":                recordText(func(r *observe.Record) string { return r.VirtualCluster }),
	"UPSTREAM_CLUSTER_RAW":                recordText(func(r *observe.Record) string { return r.Cluster }),
	"STREAM_ID":                           peerText(recordText(func(r *observe.Record) string { return r.RequestID })),
	"CONNECTION_TERMINATION_DETAILS":      recordText(func(r *observe.Record) string { return r.Terminate }),
	"UPSTREAM_TRANSPORT_FAILURE_REASON":   underscored(recordText(func(r *observe.Record) string { return r.UpstreamFailure })),
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": underscored(downstreamFailure),
	"UPSTREAM_CLUSTER": recordText(func(r *observe.Record) string {
		if r.ClusterAlt != "" {
			return r.ClusterAlt
		}
		return r.Cluster
	}),
	"RESPONSE_CODE_DETAILS":           {mayArgs, compileDetails},
	"RESPONSE_FLAGS":                  flags(false),
	"RESPONSE_FLAGS_LONG":             flags(true),
	"CUSTOM_FLAGS":                    constant(""), // no filter sets any
	"UPSTREAM_HOST_NAME":              {noArgs, hostName(addressWhole)},
	"UPSTREAM_HOST_NAME_WITHOUT_PORT": {noArgs, hostName(addressIP)},
	"REQUESTED_SERVER_NAME":           {noArgs, compileServerName},
	"FILTER_CHAIN_NAME":               connText(func(c *conn.Info) string { return c.Chain }),
	"HOSTNAME":                        {noArgs, func(_ command, o Options) (*operator, error) { return fixed(o.Hostname, o.Hostname != ""), nil }},
	"ENVIRONMENT":                     {needArgs | mayTruncate, compileEnvironment},
	"LOCAL_REPLY_BODY":                {noArgs, compileLocalBody},
	"ACCESS_LOG_TYPE":                 {noArgs, compileLogType},
	"UNIQUE_ID":                       {noArgs, compileUniqueID},
}

func runText(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	v := o.get(e)
	return append(dst, v...), v != ""
}

// downstreamFailure prints why the client's handshake failed: what the record says, else what the connection does. Immutable.
var downstreamFailure = definition{noArgs, func(command, Options) (*operator, error) {
	return &operator{run: runText, get: func(e *observe.Entry) string {
		switch {
		case e.Record != nil && e.Record.DownstreamFailure != "":
			return e.Record.DownstreamFailure
		case e.Conn != nil:
			return e.Conn.TransportFailure
		}
		return ""
	}}, nil
}}

// recordText defines an operator that prints a string of the record; "" is unknown.
func recordText(get func(r *observe.Record) string) definition {
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runText, get: func(e *observe.Entry) string {
			if e.Record == nil {
				return ""
			}
			return get(e.Record)
		}}, nil
	}}
}

func connText(get func(c *conn.Info) string) definition {
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runText, peer: true, get: func(e *observe.Entry) string {
			if e.Conn == nil {
				return ""
			}
			return get(e.Conn)
		}}, nil
	}}
}

// peerText marks what an operator prints as chosen by a peer.
func peerText(d definition) definition {
	return definition{d.syntax, func(c command, o Options) (*operator, error) {
		op, err := d.compile(c, o)
		op.peer = true
		return op, err
	}}
}

// underscored prints underscores for spaces, so that the text stays one word of the line.
func underscored(d definition) definition {
	return definition{d.syntax, func(c command, o Options) (*operator, error) {
		op, err := d.compile(c, o)
		inner := op.run
		op.peer = true
		op.run = func(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
			start := len(dst)
			dst, ok := inner(o, dst, e)
			replaceSpaces(dst[start:])
			return dst, ok
		}
		return op, err
	}}
}

func replaceSpaces(b []byte) {
	for i, c := range b {
		if c == ' ' || '\t' <= c && c <= '\r' {
			b[i] = '_'
		}
	}
}

// fixed is an operator whose text is known when the format is compiled.
func fixed(text string, known bool) *operator {
	return &operator{text: text, run: func(o *operator, dst []byte, _ *observe.Entry) ([]byte, bool) {
		return append(dst, o.text...), known
	}}
}

func constant(text string) definition {
	return definition{noArgs, func(command, Options) (*operator, error) { return fixed(text, true), nil }}
}

func flags(long bool) definition {
	run := func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		if e.Record == nil {
			return append(dst, '-'), true
		}
		return e.Record.Flags.Append(dst, long), true
	}
	return definition{noArgs, func(command, Options) (*operator, error) { return &operator{run: run}, nil }}
}

func compileDetails(c command, o Options) (*operator, error) {
	d := peerText(recordText(func(r *observe.Record) string { return r.Details })) // there may be names of an upstream's certificate in it
	if c.args != "ALLOW_WHITESPACES" {
		d = underscored(d)
	}
	return d.compile(c, o)
}

func hostName(which uint8) func(command, Options) (*operator, error) {
	return func(command, Options) (*operator, error) { return &operator{run: appendHostName, flags: which}, nil }
}

// compileServerName prints the SNI; bytes that no host name has become underscores.
func compileServerName(command, Options) (*operator, error) {
	return &operator{run: func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		if e.Conn == nil || e.Conn.ServerName == "" {
			return dst, false
		}
		for _, c := range []byte(e.Conn.ServerName) {
			if !isHostByte(c) {
				c = '_'
			}
			dst = append(dst, c)
		}
		return dst, true
	}}, nil
}

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
}

func compileEnvironment(c command, o Options) (*operator, error) {
	if o.Getenv == nil {
		return fixed("", false), nil
	}
	v, ok := o.Getenv(c.args)
	return fixed(strings.Clone(v), ok), nil
}

// compileLocalBody prints the body as it is: local_reply_config makes bodies of bodies.
func compileLocalBody(command, Options) (*operator, error) {
	return &operator{run: func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) { return append(dst, e.Local...), true }}, nil
}

func compileLogType(command, Options) (*operator, error) {
	return &operator{run: runText, get: func(e *observe.Entry) string { return e.Type.String() }}, nil
}

// compileUniqueID prints a random UUID (RFC 9562 section 5.4), another one each time.
func compileUniqueID(command, Options) (*operator, error) {
	return &operator{run: func(_ *operator, dst []byte, _ *observe.Entry) ([]byte, bool) {
		return appendUUID(dst, rand.Uint64(), rand.Uint64()), true
	}}, nil
}

func appendUUID(dst []byte, high, low uint64) []byte {
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 1<<63
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		word := high
		if i >= 16 {
			word = low
		}
		dst = append(dst, hexDigits[word>>(60-4*(i%16))&15])
	}
	return dst
}
