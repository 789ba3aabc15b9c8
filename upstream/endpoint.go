package upstream

import (
	"math"
	"net"
	"net/netip"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftproxy/weft/resource"
)

// An endpoint is one LbEndpoint of the configuration: a host, or a name that becomes hosts. Immutable.
type endpoint struct {
	network, address string // ip:port, or a path; of DNS clusters name:port
	addr             netip.AddrPort
	name             string // DNS: what to resolve
	port             uint16
	hostname         string
	check            checkAt
	weight           uint32
	status           Health // what the configuration says of its health
	metadata         map[string]map[string]any
	via              *socketChoice
	canary           bool
	locality         *locality
}

// facts returns the endpoint's metadata, or else its locality's.
func (e *endpoint) facts() map[string]map[string]any {
	if e.metadata == nil {
		return e.locality.metadata
	}
	return e.metadata
}

// checkAt is the endpoint's health_check_config.
type checkAt struct {
	port     uint16
	hostname string
	address  string // instead of the endpoint's, ip:port
	disabled bool
}

// A locality is a group of endpoints in one place. Immutable.
type locality struct {
	Region, Zone, SubZone string
	weight                uint32
	priority              int
	metadata              map[string]map[string]any
}

// An endpointCompiler compiles the load assignment of one cluster.
type endpointCompiler struct {
	kind Discovery
	p    *resource.Problems
	out  []*endpoint
}

func (e *endpointCompiler) assignment(m *endpointv3.ClusterLoadAssignment, at resource.Path) {
	seen := map[int]bool{}
	highest := 0
	for i, group := range m.GetEndpoints() {
		at := at.Field("endpoints").Index(i)
		l := &locality{
			Region: group.GetLocality().GetRegion(), Zone: group.GetLocality().GetZone(), SubZone: group.GetLocality().GetSubZone(),
			weight: group.GetLoadBalancingWeight().GetValue(), priority: int(group.GetPriority()),
		}
		if l.priority > 128 {
			e.p.Errorf(at.Field("priority"), "0 to 128", "out of range: %d", l.priority)
			continue
		}
		seen[l.priority], highest = true, max(highest, l.priority)
		l.metadata = metadataOf(group.GetMetadata())
		sum := uint64(0)
		for j, m := range group.GetLbEndpoints() {
			e.endpoint(m, l, at.Field("lb_endpoints").Index(j))
			sum += uint64(m.GetLoadBalancingWeight().GetValue())
		}
		if sum > math.MaxUint32 {
			e.p.Errorf(at, "", "the sum of the weights of all endpoints of a locality exceeds %d", uint32(math.MaxUint32))
		}
	}
	for i := range highest {
		if len(seen) > 0 && !seen[i] {
			e.p.Warnf(at.Field("endpoints"), "number priorities from 0 without gaps", "there are endpoints of priority %d but none of %d", highest, i)
			break
		}
	}
	if e.kind == LogicalDNS && len(e.out) != 1 {
		e.p.Errorf(at.Field("endpoints"), "use STRICT_DNS for several names", "a LOGICAL_DNS cluster has exactly one endpoint, not %d", len(e.out))
	}
}

func (e *endpointCompiler) endpoint(m *endpointv3.LbEndpoint, l *locality, at resource.Path) {
	ep := m.GetEndpoint()
	at = at.Field("endpoint")
	if ep == nil {
		e.p.Errorf(at, "endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}", "an endpoint needs an address")
		return
	}
	out := &endpoint{hostname: ep.GetHostname(), weight: 1, locality: l, metadata: metadataOf(m.GetMetadata())}
	if w := m.GetLoadBalancingWeight(); w != nil {
		out.weight = max(w.GetValue(), 1)
	}
	out.canary, _ = out.facts()["envoy.lb"]["canary"].(bool)
	switch m.GetHealthStatus() {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT:
		out.status = FailedEDSHealth
	case corev3.HealthStatus_DRAINING:
		out.status = EDSStatusDraining
	case corev3.HealthStatus_DEGRADED:
		out.status = DegradedEDSHealth
	}
	if !e.address(ep.GetAddress(), out, at.Field("address")) {
		return
	}
	e.check(ep.GetHealthCheckConfig(), out, at.Field("health_check_config"))
	e.out = append(e.out, out)
}

// address fills in where the endpoint is.
func (e *endpointCompiler) address(m *corev3.Address, out *endpoint, at resource.Path) bool {
	if pipe := m.GetPipe(); pipe != nil {
		if e.kind != Static {
			e.p.Errorf(at, "type: STATIC", "a unix socket cannot be an endpoint of a %s cluster", e.kind)
			return false
		}
		out.network, out.address = "unix", pipe.GetPath()
		return true
	}
	s := m.GetSocketAddress()
	at = at.Field("socket_address")
	if s == nil {
		e.p.Errorf(at, "", "an endpoint needs a socket_address or a pipe")
		return false
	}
	out.network, out.port = "tcp", uint16(s.GetPortValue())
	if s.GetPortValue() > 65535 {
		e.p.Errorf(at.Field("port_value"), "", "not a port: %d", s.GetPortValue())
		return false
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	switch {
	case err == nil:
		out.addr = netip.AddrPortFrom(ip.Unmap(), out.port)
		out.address = out.addr.String()
	case e.kind == Static:
		e.p.Errorf(at.Field("address"), "use type: STRICT_DNS for names", "malformed IP address: %s", s.GetAddress())
		return false
	default:
		out.name = s.GetAddress()
		out.address = net.JoinHostPort(out.name, strconv.Itoa(int(out.port)))
	}
	if out.hostname == "" && e.kind != Static {
		out.hostname = s.GetAddress()
	}
	return true
}

func (e *endpointCompiler) check(m *endpointv3.Endpoint_HealthCheckConfig, out *endpoint, at resource.Path) {
	if m == nil {
		return
	}
	out.check = checkAt{port: uint16(m.GetPortValue()), hostname: m.GetHostname(), disabled: m.GetDisableActiveHealthCheck()}
	if m.GetPortValue() > 65535 {
		e.p.Errorf(at.Field("port_value"), "", "not a port: %d", m.GetPortValue())
	}
	if s := m.GetAddress().GetSocketAddress(); s != nil {
		ip, err := netip.ParseAddr(s.GetAddress())
		if err != nil {
			e.p.Errorf(at.Field("address").Field("socket_address").Field("address"), "", "malformed IP address: %s", s.GetAddress())
			return
		}
		out.check.address = netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue())).String()
	}
}

// metadataOf turns Metadata into plain maps, nil when there is none.
func metadataOf(m *corev3.Metadata) map[string]map[string]any {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(map[string]map[string]any, len(m.GetFilterMetadata()))
	for name, s := range m.GetFilterMetadata() {
		out[name] = s.AsMap()
	}
	return out
}
