package listener

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftproxy/weft/conn"
)

func ap(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

// peer is a connection to be matched.
type peer struct {
	local, remote, direct string
	name, transport       string
	alpn                  []string
}

func (p peer) info() *conn.Info {
	i := &conn.Info{Local: ap(p.local), Remote: ap(p.remote), DirectRemote: ap(p.direct), ServerName: p.name, TransportProtocol: p.transport, ALPN: p.alpn}
	if p.direct == "" {
		i.DirectRemote = i.Remote
	}
	if i.TransportProtocol == "" {
		i.TransportProtocol = "raw_buffer"
	}
	return i
}

func TestMatchTakesTheMostSpecificChain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		chains []string // name, match JSON, ...
		peer   peer
		want   string
	}{
		{"port before anything", []string{"p", `"destinationPort": 80`, "any", `"prefixRanges": [{"addressPrefix": "10.0.0.1", "prefixLen": 32}]`}, peer{local: "10.0.0.1:80", remote: "1.1.1.1:1"}, "p"},
		{"no way back from a port", []string{"p", `"destinationPort": 80, "serverNames": ["a"]`, "any", ``}, peer{local: "10.0.0.1:80", remote: "1.1.1.1:1"}, "default"},
		{"other port", []string{"p", `"destinationPort": 80`, "any", ``}, peer{local: "10.0.0.1:81", remote: "1.1.1.1:1"}, "any"},
		{"longest prefix", []string{"8", `"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}]`, "16", `"prefixRanges": [{"addressPrefix": "10.1.2.3", "prefixLen": 16}]`}, peer{local: "10.1.9.9:1", remote: "1.1.1.1:1"}, "16"},
		{"shorter prefix", []string{"8", `"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}]`, "16", `"prefixRanges": [{"addressPrefix": "10.1.0.0", "prefixLen": 16}]`}, peer{local: "10.2.9.9:1", remote: "1.1.1.1:1"}, "8"},
		{"no way back from a prefix", []string{"8", `"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}]`, "16", `"prefixRanges": [{"addressPrefix": "10.1.0.0", "prefixLen": 16}], "serverNames": ["a"]`}, peer{local: "10.1.9.9:1", remote: "1.1.1.1:1"}, "default"},
		{"IPv6 prefix", []string{"6", `"prefixRanges": [{"addressPrefix": "2001:db8::", "prefixLen": 32}]`, "any", ``}, peer{local: "[2001:db8::1]:1", remote: "[::1]:1"}, "6"},
		{"IPv4 does not match IPv6", []string{"4", `"prefixRanges": [{"addressPrefix": "0.0.0.0", "prefixLen": 0}]`}, peer{local: "[2001:db8::1]:1", remote: "[::1]:1"}, "default"},
		{"unix matches without ranges", []string{"any", ``}, peer{}, "any"},
		{"unix is in no range", []string{"4", `"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}]`}, peer{}, "default"},
		{"exact name", []string{"x", `"serverNames": ["www.example.com"]`, "w", `"serverNames": ["*.example.com"]`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", name: "www.example.com"}, "x"},
		{"longest wildcard", []string{"w1", `"serverNames": ["*.com"]`, "w2", `"serverNames": ["*.Example.com"]`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", name: "a.b.example.com"}, "w2"},
		{"a wildcard is not its domain", []string{"w", `"serverNames": ["*.example.com"]`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", name: "example.com"}, "any"},
		{"no name", []string{"w", `"serverNames": ["*.example.com"]`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1"}, "any"},
		{"transport protocol", []string{"tls", `"transportProtocol": "tls"`, "raw", `"transportProtocol": "raw_buffer"`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", transport: "tls"}, "tls"},
		{"any transport protocol", []string{"tls", `"transportProtocol": "tls"`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1"}, "any"},
		{"the peer's order of protocols", []string{"h1", `"applicationProtocols": ["http/1.1"]`, "h2", `"applicationProtocols": ["h2"]`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", alpn: []string{"x", "h2", "http/1.1"}}, "h2"},
		{"directly connected source", []string{"d", `"directSourcePrefixRanges": [{"addressPrefix": "3.0.0.0", "prefixLen": 8}]`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:1", direct: "3.3.3.3:1"}, "d"},
		{"loopback is local", []string{"l", `"sourceType": "SAME_IP_OR_LOOPBACK"`, "e", `"sourceType": "EXTERNAL"`}, peer{local: "1.1.1.1:1", remote: "127.0.0.1:1"}, "l"},
		{"same address is local", []string{"l", `"sourceType": "SAME_IP_OR_LOOPBACK"`, "e", `"sourceType": "EXTERNAL"`}, peer{local: "1.1.1.1:1", remote: "1.1.1.1:9"}, "l"},
		{"elsewhere is external", []string{"l", `"sourceType": "SAME_IP_OR_LOOPBACK"`, "e", `"sourceType": "EXTERNAL"`}, peer{local: "1.1.1.1:1", remote: "1.1.1.2:9"}, "e"},
		{"neither local nor external", []string{"l", `"sourceType": "SAME_IP_OR_LOOPBACK"`, "any", ``}, peer{local: "1.1.1.1:1", remote: "1.1.1.2:9"}, "any"},
		{"source address", []string{"s", `"sourcePrefixRanges": [{"addressPrefix": "2.2.0.0", "prefixLen": 16}]`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:9"}, "s"},
		{"source port", []string{"s", `"sourcePorts": [9, 10]`, "any", ``}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:10"}, "s"},
		{"address before port of the source", []string{"a", `"sourcePrefixRanges": [{"addressPrefix": "2.2.0.0", "prefixLen": 16}]`, "p", `"sourcePorts": [9]`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:9"}, "a"},
		{"nothing matches", []string{"p", `"destinationPort": 80`}, peer{local: "1.1.1.1:1", remote: "2.2.2.2:9"}, "default"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.handlers["default"] = echo
			var all []string
			for i := 0; i < len(tt.chains); i += 2 {
				b.handlers[tt.chains[i]] = echo
				all = append(all, chain(tt.chains[i], tt.chains[i+1]))
			}
			cfg := b.compile(listen("127.0.0.1", 0, chains(all...), `"defaultFilterChain": `+chain("default", "")), nil)
			m, ok := cfg.Match(tt.peer.info())
			if !ok || m.Name != tt.want || (m.Index < 0) != (tt.want == "default") || m.TLS || m.Built.Handler.(*named).name != tt.want {
				t.Errorf("got %q at %d, want %q", m.Name, m.Index, tt.want)
			}
		})
	}
}

// reference matches as the documentation words it: criterion by criterion, keep the chains that fit best, without looking back.
func reference(all []*criteria, info *conn.Info) int {
	left := make([]int, len(all))
	for i := range left {
		left[i] = i
	}
	// keep leaves the chains of the greatest rank; a rank below 0 does not fit. It reports false when none fits.
	keep := func(rank func(c *criteria) int) {
		best := -1
		for _, i := range left {
			best = max(best, rank(all[i]))
		}
		left = slices.DeleteFunc(left, func(i int) bool { return best < 0 || rank(all[i]) != best })
	}
	inRanges := func(list []netip.Prefix, a netip.Addr) int {
		if len(list) == 0 {
			return 0
		}
		best := -1
		for _, p := range list {
			if p.Contains(a) {
				best = max(best, p.Bits()+1)
			}
		}
		return best
	}
	keep(func(c *criteria) int {
		switch c.port {
		case info.Local.Port():
			return 1
		case 0:
			return 0
		}
		return -1
	})
	keep(func(c *criteria) int { return inRanges(c.ranges, info.Local.Addr()) })
	keep(func(c *criteria) int {
		if len(c.names) == 0 {
			return 0
		}
		best := -1
		for _, n := range c.names {
			switch {
			case n == info.ServerName:
				best = 1000
			case strings.HasPrefix(n, "*.") && strings.HasSuffix(info.ServerName, n[1:]) && len(info.ServerName) > len(n)-1:
				best = max(best, len(n))
			}
		}
		return best
	})
	keep(func(c *criteria) int {
		switch c.transport {
		case info.TransportProtocol:
			return 1
		case "":
			return 0
		}
		return -1
	})
	keep(func(c *criteria) int {
		if len(c.alpn) == 0 {
			return 0
		}
		for i, p := range info.ALPN {
			if slices.Contains(c.alpn, p) {
				return 100 - i
			}
		}
		return -1
	})
	keep(func(c *criteria) int { return inRanges(c.directSources, info.DirectRemote.Addr()) })
	keep(func(c *criteria) int {
		switch {
		case c.sourceType == anySource:
			return 0
		case (c.sourceType == localSource) == isLocal(info):
			return 1
		}
		return -1
	})
	keep(func(c *criteria) int { return inRanges(c.sources, info.Remote.Addr()) })
	keep(func(c *criteria) int {
		switch {
		case slices.Contains(c.sourcePorts, info.Remote.Port()):
			return 1
		case len(c.sourcePorts) == 0:
			return 0
		}
		return -1
	})
	if len(left) != 1 {
		return -1
	}
	return left[0]
}

func TestMatchAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func(from []string, most int) []string {
		var out []string
		for range r.IntN(most + 1) {
			if s := from[r.IntN(len(from))]; !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		return out
	}
	prefixes := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "127.0.0.0/8", "2001:db8::/32", "2001:db8:1::/48"}
	addrs := []string{"10.1.1.1", "10.1.2.2", "10.9.9.9", "127.0.0.1", "192.168.0.1", "2001:db8:1::1", "2001:db8:2::1", "::1"}
	names := []string{"a.com", "b.a.com", "*.a.com", "*.com", "*.b.a.com"}
	asked := []string{"", "a.com", "b.a.com", "c.b.a.com", "x.com", "com", "x.a.com."}
	parse := func(list []string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	matched := 0
	for round := range 400 {
		m := matcher{}
		var all []*criteria
		var names2 []*Chain
		for range 1 + r.IntN(12) {
			c := &criteria{
				port: []uint16{0, 0, 80, 443}[r.IntN(4)], ranges: parse(some(prefixes, 2)), names: some(names, 2), transport: []string{"", "", "tls", "raw_buffer"}[r.IntN(4)],
				alpn: some([]string{"h2", "http/1.1"}, 1), directSources: parse(some(prefixes, 1)), sourceType: r.IntN(3), sources: parse(some(prefixes, 2)),
			}
			if r.IntN(3) == 0 {
				c.sourcePorts = []uint16{1000, 2000}[:1+r.IntN(2)]
			}
			ch := &Chain{Name: fmt.Sprint(len(all))}
			if m.clone(all, names2).add(c, ch) != nil {
				continue // overlaps
			}
			all, names2 = append(all, c), append(names2, ch)
		}
		m = m.clone(all, names2)
		for range 200 {
			p := peer{
				local: netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), []uint16{80, 443, 8080}[r.IntN(3)]).String(), remote: netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), []uint16{1000, 2000, 3000}[r.IntN(3)]).String(),
				direct: netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), 1).String(), name: asked[r.IntN(len(asked))],
				transport: []string{"tls", "raw_buffer"}[r.IntN(2)], alpn: some([]string{"h2", "http/1.1", "x"}, 3),
			}
			info := p.info()
			got, want := m.match(info), reference(all, info)
			switch {
			case got == nil && want < 0:
			case got == nil || want < 0 || got != names2[want]:
				t.Fatalf("round %d: got %v, want %d for %+v", round, got, want, p)
			default:
				matched++
			}
		}
	}
	if matched < 1000 {
		t.Fatalf("only %d matches: the test tests nothing", matched)
	}
}

// clone builds a matcher anew, so that a chain that overlaps leaves no traces.
func (m matcher) clone(all []*criteria, to []*Chain) matcher {
	n := matcher{}
	for i := range all {
		if err := n.add(all[i], to[i]); err != nil {
			panic(err)
		}
	}
	return n
}

func TestMatchIsFastWithManyChains(t *testing.T) {
	m := matcher{}
	for i := range 10000 {
		c := &criteria{names: []string{fmt.Sprintf("host%d.example.com", i)}, ranges: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}}
		if err := m.add(c, &Chain{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	info := peer{local: "10.39.15.1:443", remote: "1.2.3.4:5", name: "host9999.example.com"}.info()
	if c := m.match(info); c == nil || c.Name != "9999" {
		t.Fatalf("matched %v", c)
	}
	if n := testing.AllocsPerRun(100, func() { m.match(info) }); n != 0 {
		t.Errorf("%v allocations a match", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10000} {
		m := matcher{}
		for i := range n {
			if err := m.add(&criteria{names: []string{fmt.Sprintf("host%d.example.com", i)}}, &Chain{}); err != nil {
				b.Fatal(err)
			}
		}
		info := peer{local: "10.39.15.1:443", remote: "1.2.3.4:5", name: "host7.example.com"}.info()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				m.match(info)
			}
		})
	}
}
