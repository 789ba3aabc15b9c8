package listener

import (
	"strings"
	"testing"

	"github.com/weftproxy/weft/resource"
)

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func TestCompileRefuses(t *testing.T) {
	ok := chains(chain("echo", ""))
	for _, tt := range []struct{ name, text, path, want string }{
		{"host name", listen("localhost", 80, ok), "at.address.socket_address.address", "malformed IP address: localhost"},
		{"no chains", listen("127.0.0.1", 80, `"statPrefix": "x"`), "at.filter_chains", "no filter chains specified"},
		{"no address", `{"name": "l", ` + ok + `}`, "at.address", "needs an address"},
		{"same match twice", listen("127.0.0.1", 80, chains(chain("echo", `"destinationPort": 1`), chain("echo", `"destinationPort": 1`))), "at.filter_chains[1].filter_chain_match", `has the same matching rules defined as "echo"`},
		{"negative handshake timeout", listen("127.0.0.1", 80, chains(`{"transportSocketConnectTimeout": "-1s", "filters": [`+handler("echo")+`]}`)), "at.filter_chains[0].transport_socket_connect_timeout", "negative"},
		{"overlap", listen("127.0.0.1", 80, chains(chain("echo", `"sourcePorts": [1, 2]`), chain("echo", `"sourcePorts": [2, 3]`))), "at.filter_chains[1].filter_chain_match", "overlapping matching rules"},
		{"partial wildcard", listen("127.0.0.1", 80, chains(chain("echo", `"serverNames": ["a*.com"]`))), "at.filter_chains[0].filter_chain_match.server_names[0]", "partial wildcards"},
		{"bad range", listen("127.0.0.1", 80, chains(chain("echo", `"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 33}]`))), "at.filter_chains[0].filter_chain_match.prefix_ranges[0].prefix_len", "33 is not a prefix length"},
		{"unknown handler", listen("127.0.0.1", 80, chains(chain("nobody", ""))), "at.filter_chains[0].filters[0].typed_config", `no handler "nobody"`},
		{"terminal first", listen("127.0.0.1", 80, chains(`{"filters": [`+handler("echo")+`, `+handler("echo")+`]}`)), "at.filter_chains[0].filters[0].typed_config", "must be the last"},
		{"not terminal last", listen("127.0.0.1", 80, chains(`{"filters": [`+wrapper+`]}`)), "at.filter_chains[0].filters[0].typed_config", "is the last filter"},
		{"no config", listen("127.0.0.1", 80, chains(`{"filters": [{"name": "x"}]}`)), "at.filter_chains[0].filters[0]", "no typed_config"},
		{"unknown filter", listen("127.0.0.1", 80, chains(`{"filters": [{"name": "x", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 1}}]}`)), "at.filter_chains[0].filters[0].typed_config", "not supported"},
		{"unknown listener filter", listen("127.0.0.1", 80, ok, `"listenerFilters": [{"name": "x", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 1}}]`), "at.listener_filters[0].typed_config", "not supported"},
		{"TLS", listen("127.0.0.1", 80, chains(`{"filters": [`+handler("echo")+`], "transportSocket": {"name": "tls", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 1}}}`)), "at.filter_chains[0].transport_socket.typed_config", "transport socket tls (google.protobuf.Int64Value) is not supported"},
		{"address twice", listen("127.0.0.1", 80, ok, `"additionalAddresses": [{"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 80}}}]`), "at.additional_addresses", "twice"},
		{"default chain", listen("127.0.0.1", 80, ok, `"defaultFilterChain": `+chain("nobody", "")), "at.default_filter_chain.filters[0].typed_config", "no handler"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p := newBench(t, nil).try(tt.text, nil)
			if !p.HasErrors() {
				t.Fatal("no error")
			}
			if first := p.All()[0]; string(first.Path) != tt.path || !strings.Contains(first.Message, tt.want) {
				t.Errorf("got %s: %s\nwant %s: %s", first.Path, first.Message, tt.path, tt.want)
			}
		})
	}
}

func TestCompileReusesWhatDidNotChange(t *testing.T) {
	b := newBench(t, nil)
	for _, n := range []string{"a", "b", "c"} {
		b.handlers[n] = echo
	}
	first := b.compile(listen("127.0.0.1", 0, chains(chain("a", `"destinationPort": 1`), chain("b", `"destinationPort": 2`)), `"defaultFilterChain": `+chain("c", "")), nil)
	second := b.compile(listen("127.0.0.1", 0, chains(chain("b", `"destinationPort": 3`), chain("a", `"destinationPort": 1`)), `"defaultFilterChain": `+chain("c", "")), first)
	if first.chains[0] != second.chains[1] || first.chains[2] != second.chains[2] {
		t.Error("an unchanged chain was compiled anew")
	}
	if first.chains[1] == second.chains[0] || second.keeps(first.chains[1]) {
		t.Error("a changed chain was kept, though its handler was not")
	}
	if !first.SameSockets(second) || first.SameSockets(b.compile(listen("127.0.0.1", 1, chains(chain("a", ""))), nil)) {
		t.Error("SameSockets is wrong")
	}
	renamed := b.compile(listen("127.0.0.1", 0, `"statPrefix": "x"`, chains(chain("a", `"destinationPort": 1`))), first)
	if renamed.chains[0] == first.chains[0] {
		t.Error("a chain was reused though the listener's statistics moved")
	}
}

func TestCompileKeepsHandlersThatTakeTheChange(t *testing.T) {
	b := newBench(t, nil)
	b.keep = true
	b.handlers["b"] = echo
	text := func(filters string) string {
		return listen("127.0.0.1", 0, chains(`{"name": "n", "filters": [`+filters+`]}`))
	}
	first := b.compile(text(handler("echo")), nil)
	second := b.compile(text(handler("b")), first)
	if first.chains[0] == second.chains[0] || first.chains[0].handler != second.chains[0].handler {
		t.Error("the handler was not handed on")
	}
	if !second.keeps(first.chains[0]) {
		t.Error("connections would be closed though their handler goes on")
	}
	third := b.compile(text(wrapper+", "+handler("b")), second)
	if third.keeps(second.chains[0]) {
		t.Error("connections would skip the new filter")
	}
}

func TestFilterDisabled(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		local string
		want  bool
	}{
		{`"anyMatch": true`, "1.1.1.1:80", true},
		{`"destinationPortRange": {"start": 80, "end": 81}`, "1.1.1.1:80", true},
		{`"destinationPortRange": {"start": 80, "end": 81}`, "1.1.1.1:81", false},
		{`"destinationPortRange": {"start": 80, "end": 81}`, "", false},
		{`"notMatch": {"destinationPortRange": {"start": 80, "end": 81}}`, "1.1.1.1:81", true},
		{`"orMatch": {"rules": [{"destinationPortRange": {"start": 1, "end": 2}}, {"destinationPortRange": {"start": 80, "end": 81}}]}`, "1.1.1.1:80", true},
		{`"andMatch": {"rules": [{"anyMatch": true}, {"destinationPortRange": {"start": 80, "end": 81}}]}`, "1.1.1.1:81", false},
	} {
		b := newBench(t, nil)
		cfg := b.compile(listen("127.0.0.1", 0, chains(chain("echo", "")), strings.Replace(inspect, `{"name": "i",`, `{"name": "i", "filterDisabled": {`+tt.rule+`},`, 1)), nil)
		if got := cfg.inspectors[0].disabled(peer{local: tt.local}.info()); got != tt.want {
			t.Errorf("%s at %q: %v", tt.rule, tt.local, got)
		}
	}
}

func TestNamesOfStatistics(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{listen("127.0.0.1", 10000, chains(chain("echo", ""))), "listener.127.0.0.1_10000."},
		{listen("::1", 10000, chains(chain("echo", ""))), "listener.[__1]_10000."},
		{listen("127.0.0.1", 10000, `"statPrefix": "in"`, chains(chain("echo", ""))), "listener.in."},
	} {
		if got := newBench(t, nil).compile(tt.text, nil).scope.Prefix(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
