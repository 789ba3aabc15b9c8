package dispatch

import (
	"net/netip"
	"testing"

	"github.com/weftproxy/weft/conn"
)

func TestHostNormalization(t *testing.T) {
	info := &conn.Info{Local: netip.MustParseAddrPort("10.0.0.1:8080")}
	anyPort, matching, dot := hostRules{stripAnyPort: true}, hostRules{stripMatchingPort: true}, hostRules{stripTrailingDot: true}
	for _, tt := range []struct {
		rules    hostRules
		in, want string
	}{
		{hostRules{}, "a.example:8080", "a.example:8080"},
		{anyPort, "a.example:1234", "a.example"},
		{anyPort, "a.example", "a.example"},
		{anyPort, "[2001:db8::1]:80", "[2001:db8::1]"},
		{anyPort, "[2001:db8::1]", "[2001:db8::1]"},
		{anyPort, "2001:db8::1", "2001:db8::1"},
		{anyPort, "a.example:http", "a.example:http"},
		{matching, "a.example:8080", "a.example"},
		{matching, "a.example:80", "a.example:80"},
		{dot, "a.example.", "a.example"},
		{dot, "a.example.:443", "a.example:443"},
		{dot, "a.example:443", "a.example:443"},
	} {
		if got := tt.rules.apply(tt.in, info, false); got != tt.want {
			t.Errorf("%+v: %q → %q, want %q", tt.rules, tt.in, got, tt.want)
		}
	}
	if got := anyPort.apply("a.example:443", info, true); got != "a.example:443" {
		t.Errorf("the port of a CONNECT target was stripped: %q", got)
	}
}
