package dispatch

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

var private = internalAddresses{prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}

func TestRequestHeadersSayWhatWeftKnows(t *testing.T) {
	edge := Config{UseRemoteAddress: true, internal: private}
	inner := Config{internal: private}
	with := func(c Config, change func(*Config)) Config { change(&c); return c }
	for _, tt := range []struct {
		name   string
		cfg    Config
		remote string
		in     [][2]string
		want   map[string]string // "" means absent
	}{
		{"edge appends the peer and overrides the protocol", edge, "203.0.113.7:4000",
			[][2]string{{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-proto", "https"}},
			map[string]string{"x-forwarded-for": "1.2.3.4,203.0.113.7", "x-forwarded-proto": "http", "x-envoy-external-address": "203.0.113.7"}},
		{"edge takes internal headers from an external client", edge, "203.0.113.7:4000",
			[][2]string{{"x-envoy-internal", "true"}, {"x-envoy-retry-on", "5xx"}, {"x-envoy-decorator-operation", "op"}, {"x-envoy-upstream-rq-timeout-ms", "1"}},
			map[string]string{"x-envoy-internal": "", "x-envoy-retry-on": "", "x-envoy-decorator-operation": "", "x-envoy-upstream-rq-timeout-ms": ""}},
		{"an internal client keeps them", edge, "10.1.2.3:4000", [][2]string{{"x-envoy-retry-on", "5xx"}},
			map[string]string{"x-envoy-internal": "true", "x-envoy-retry-on": "5xx", "x-envoy-external-address": ""}},
		{"an internal client with x-forwarded-for is not internal", edge, "10.1.2.3:4000",
			[][2]string{{"x-forwarded-for", "10.9.9.9"}, {"x-envoy-retry-on", "5xx"}},
			map[string]string{"x-envoy-internal": "", "x-envoy-retry-on": ""}},
		{"one trusted hop", with(edge, func(c *Config) { c.TrustedHops = 1 }), "10.0.0.1:1",
			[][2]string{{"x-forwarded-for", "8.8.8.8, 203.0.113.9"}, {"x-forwarded-proto", "https"}},
			map[string]string{"x-forwarded-for": "8.8.8.8, 203.0.113.9,10.0.0.1", "x-forwarded-proto": "https", "x-envoy-external-address": "203.0.113.9"}},
		{"trusted hops with a list that is too short fall back to the peer", with(edge, func(c *Config) { c.TrustedHops = 3 }), "203.0.113.7:1",
			[][2]string{{"x-forwarded-for", "8.8.8.8"}},
			map[string]string{"x-envoy-external-address": "203.0.113.7"}},
		{"skip_xff_append", with(edge, func(c *Config) { c.SkipXFFAppend = true }), "203.0.113.7:1", nil,
			map[string]string{"x-forwarded-for": ""}},
		{"append_x_forwarded_port", with(edge, func(c *Config) { c.AppendPort = true }), "203.0.113.7:1", nil,
			map[string]string{"x-forwarded-port": "8080"}},
		{"IPv4-mapped", with(edge, func(c *Config) { c.IPv4Mapped = true }), "203.0.113.7:1", nil,
			map[string]string{"x-forwarded-for": "::ffff:203.0.113.7"}},
		{"inside the mesh x-forwarded-for is left alone and believed", inner, "10.0.0.1:1",
			[][2]string{{"x-forwarded-for", "10.5.5.5"}, {"x-envoy-max-retries", "2"}, {"x-forwarded-proto", "https"}},
			map[string]string{"x-forwarded-for": "10.5.5.5", "x-envoy-internal": "true", "x-envoy-max-retries": "2", "x-forwarded-proto": "https"}},
		{"inside the mesh two entries are not internal", inner, "10.0.0.1:1",
			[][2]string{{"x-forwarded-for", "10.5.5.5,10.6.6.6"}, {"x-envoy-max-retries", "2"}},
			map[string]string{"x-envoy-internal": "", "x-envoy-max-retries": "", "x-forwarded-proto": "http"}},
		{"without x-forwarded-for nobody is internal inside the mesh", inner, "10.0.0.1:1", nil,
			map[string]string{"x-envoy-internal": ""}},
		{"garbage in x-forwarded-for is nobody", inner, "10.0.0.1:1", [][2]string{{"x-forwarded-for", "me"}},
			map[string]string{"x-envoy-internal": ""}},
		{"via", with(edge, func(c *Config) { c.Via = "weft-1" }), "203.0.113.7:1", [][2]string{{"via", "1.1 cdn"}},
			map[string]string{"via": "1.1 cdn, weft-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := sanitized(&tt.cfg, tt.remote, tt.in)
			for name, want := range tt.want {
				if got := x.Request.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func sanitized(cfg *Config, remote string, in [][2]string) *exchange.Exchange {
	d := &Dispatcher{cfg: cfg}
	x := &exchange.Exchange{}
	req := &message.Request{Method: "GET", Path: "/", Authority: "a.example", Body: message.NoBody}
	for _, f := range in {
		req.Header.Add(f[0], f[1])
	}
	x.Begin(req, &conn.Info{Network: "tcp", Remote: netip.MustParseAddrPort(remote), Local: netip.MustParseAddrPort("192.0.2.1:8080")}, nil)
	d.sanitize(x, nil)
	return x
}

func TestRequestIDs(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	theirs := [][2]string{{"x-request-id", "theirs"}}
	for _, tt := range []struct {
		name   string
		cfg    Config
		in     [][2]string
		theirs bool
		none   bool
	}{
		{"made when there is none", Config{GenerateID: true}, nil, false, false},
		{"kept inside the mesh", Config{GenerateID: true}, theirs, true, false},
		{"replaced at the edge", Config{GenerateID: true, UseRemoteAddress: true}, theirs, false, false},
		{"preserved at the edge when so configured", Config{GenerateID: true, UseRemoteAddress: true, PreserveID: true}, theirs, true, false},
		{"not made when switched off", Config{}, nil, false, true},
	} {
		id := sanitized(&tt.cfg, "203.0.113.7:1", tt.in).Request.Header.Get("x-request-id")
		switch {
		case tt.none && id != "", tt.theirs && id != "theirs", !tt.none && !tt.theirs && !uuid.MatchString(id):
			t.Errorf("%s: %q", tt.name, id)
		}
	}
}
