package listener

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftproxy/weft/resource"
)

// compileCriteria compiles a FilterChainMatch.
func compileCriteria(cfg *listenerv3.FilterChainMatch, at resource.Path, p *resource.Problems) *criteria {
	c := &criteria{
		port:          uint16(cfg.GetDestinationPort().GetValue()),
		ranges:        compileRanges(cfg.GetPrefixRanges(), at.Field("prefix_ranges"), p),
		transport:     cfg.GetTransportProtocol(),
		alpn:          cfg.GetApplicationProtocols(),
		directSources: compileRanges(cfg.GetDirectSourcePrefixRanges(), at.Field("direct_source_prefix_ranges"), p),
		sources:       compileRanges(cfg.GetSourcePrefixRanges(), at.Field("source_prefix_ranges"), p),
	}
	switch cfg.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		c.sourceType = localSource
	case listenerv3.FilterChainMatch_EXTERNAL:
		c.sourceType = externalSource
	}
	for i, name := range cfg.GetServerNames() {
		if strings.Contains(name, "*") && !strings.HasPrefix(name, "*.") {
			p.Errorf(at.Field("server_names").Index(i), "write *.example.com, or leave it out to match any name", `partial wildcards are not supported in "server_names"`)
			continue
		}
		c.names = append(c.names, strings.ToLower(name))
	}
	for i, port := range cfg.GetSourcePorts() {
		if port == 0 || port > 65535 {
			p.Errorf(at.Field("source_ports").Index(i), "", "%d is not a port", port)
		}
		c.sourcePorts = append(c.sourcePorts, uint16(port))
	}
	return c
}

// compileRanges compiles CIDR ranges. Bits of the address beyond the prefix do not count.
func compileRanges(cfg []*corev3.CidrRange, at resource.Path, p *resource.Problems) []netip.Prefix {
	var all []netip.Prefix
	for i, r := range cfg {
		addr, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			p.Errorf(at.Index(i).Field("address_prefix"), "", "malformed IP address: %s", r.GetAddressPrefix())
			continue
		}
		prefix, err := addr.Unmap().WithZone("").Prefix(int(r.GetPrefixLen().GetValue()))
		if err != nil {
			p.Errorf(at.Index(i).Field("prefix_len"), "", "%d is not a prefix length of %s", r.GetPrefixLen().GetValue(), addr)
			continue
		}
		all = append(all, prefix)
	}
	return all
}
