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

// at returns the place.
func (l *locality) at() [3]string { return [3]string{l.Region, l.Zone, l.SubZone} }

// most is the lowest priority there may be.
const most = 128

// An endpointCompiler compiles the load assignment of one cluster.
type endpointCompiler struct {
	kind Discovery
	p    *resource.Problems
	out  []*endpoint
	all  []*locality
	seen map[string]bool // EDS: addresses, where there are many; one that is named twice counts once

	at          resource.Path // of the assignment
	group, item int           // where the compiler is
}

// few is up to how many endpoints a look through all of them is cheaper than a map.
const few = 16

// named reports whether an endpoint has this address already.
func (e *endpointCompiler) named(address string) bool {
	if e.seen != nil {
		was := e.seen[address]
		e.seen[address] = true
		return was
	}
	for _, o := range e.out {
		if o.address == address {
			return true
		}
	}
	return false
}

// where returns the path of a field of the endpoint that is being compiled.
func (e *endpointCompiler) where(fields ...string) resource.Path {
	at := e.at.Field("endpoints").Index(e.group).Field("lb_endpoints").Index(e.item).Field("endpoint")
	for _, f := range fields {
		at = at.Field(f)
	}
	return at
}

// compileAssignment compiles a ClusterLoadAssignment for a cluster whose hosts are found in that way.
func compileAssignment(kind Discovery, m *endpointv3.ClusterLoadAssignment, at resource.Path, p *resource.Problems) *assignment {
	e := endpointCompiler{kind: kind, p: p, at: at}
	a := &assignment{overprov: defaultOverprov}
	if kind == EDS {
		n := 0
		for _, group := range m.GetEndpoints() {
			n += len(group.GetLbEndpoints())
		}
		e.out = make([]*endpoint, 0, n)
		if n > few {
			e.seen = make(map[string]bool, n)
		}
	}
	policy := m.GetPolicy()
	if v := policy.GetOverprovisioningFactor(); v != nil {
		a.overprov = int(min(v.GetValue(), math.MaxInt32))
	}
	a.drop = compileDrop(policy.GetDropOverloads(), at, p)
	if v := policy.GetEndpointStaleAfter(); v != nil {
		if a.stale = v.AsDuration(); a.stale <= 0 {
			p.Errorf(at.Field("policy").Field("endpoint_stale_after"), "60s", "must be greater than zero")
		}
	}
	e.assignment(m)
	a.endpoints, a.localities = e.out, e.all
	return a
}

func (e *endpointCompiler) assignment(m *endpointv3.ClusterLoadAssignment) {
	var seen [most + 1]bool
	highest := 0
	for i, group := range m.GetEndpoints() {
		e.group = i
		l := &locality{
			Region: group.GetLocality().GetRegion(), Zone: group.GetLocality().GetZone(), SubZone: group.GetLocality().GetSubZone(),
			weight: group.GetLoadBalancingWeight().GetValue(), priority: int(group.GetPriority()),
		}
		if l.priority > most {
			e.p.Errorf(e.at.Field("endpoints").Index(i).Field("priority"), "0 to 128", "out of range: %d", l.priority)
			continue
		}
		e.all = append(e.all, l)
		seen[l.priority], highest = true, max(highest, l.priority)
		l.metadata = metadataOf(group.GetMetadata())
		sum := uint64(0)
		for j, m := range group.GetLbEndpoints() {
			e.item = j
			e.endpoint(m, l)
			sum += uint64(m.GetLoadBalancingWeight().GetValue())
		}
		if sum > math.MaxUint32 {
			e.p.Errorf(e.at.Field("endpoints").Index(i), "", "the sum of the weights of all endpoints of a locality exceeds %d", uint32(math.MaxUint32))
		}
	}
	for i := range highest {
		if !seen[i] {
			e.p.Warnf(e.at.Field("endpoints"), "number priorities from 0 without gaps", "there are endpoints of priority %d but none of %d", highest, i)
			break
		}
	}
	if e.kind == LogicalDNS && len(e.out) != 1 {
		e.p.Errorf(e.at.Field("endpoints"), "use STRICT_DNS for several names", "a LOGICAL_DNS cluster has exactly one endpoint, not %d", len(e.out))
	}
}

func (e *endpointCompiler) endpoint(m *endpointv3.LbEndpoint, l *locality) {
	ep := m.GetEndpoint()
	if ep == nil {
		e.p.Errorf(e.where(), "endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}", "an endpoint needs an address")
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
	if !e.address(ep.GetAddress(), out) || e.kind == EDS && e.named(out.address) {
		return
	}
	e.check(ep.GetHealthCheckConfig(), out)
	e.out = append(e.out, out)
}

// address fills in where the endpoint is.
func (e *endpointCompiler) address(m *corev3.Address, out *endpoint) bool {
	if pipe := m.GetPipe(); pipe != nil {
		if e.kind.resolves() {
			e.p.Errorf(e.where("address"), "type: STATIC", "a unix socket cannot be an endpoint of a %s cluster", e.kind)
			return false
		}
		out.network, out.address = "unix", pipe.GetPath()
		return true
	}
	s := m.GetSocketAddress()
	if s == nil {
		e.p.Errorf(e.where("address", "socket_address"), "", "an endpoint needs a socket_address or a pipe")
		return false
	}
	out.network, out.port = "tcp", uint16(s.GetPortValue())
	if s.GetPortValue() > 65535 {
		e.p.Errorf(e.where("address", "socket_address", "port_value"), "", "not a port: %d", s.GetPortValue())
		return false
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	switch {
	case err == nil:
		out.addr = netip.AddrPortFrom(ip.Unmap(), out.port)
		out.address = out.addr.String()
	case e.kind == EDS:
		e.p.Errorf(e.where("address", "socket_address", "address"), "endpoints of EDS are IP addresses or pipes", "malformed IP address: %s", s.GetAddress())
		return false
	case e.kind == Static:
		e.p.Errorf(e.where("address", "socket_address", "address"), "use type: STRICT_DNS for names", "malformed IP address: %s", s.GetAddress())
		return false
	default:
		out.name = s.GetAddress()
		out.address = net.JoinHostPort(out.name, strconv.Itoa(int(out.port)))
	}
	if out.hostname == "" && e.kind.resolves() {
		out.hostname = s.GetAddress()
	}
	return true
}

func (e *endpointCompiler) check(m *endpointv3.Endpoint_HealthCheckConfig, out *endpoint) {
	if m == nil {
		return
	}
	out.check = checkAt{port: uint16(m.GetPortValue()), hostname: m.GetHostname(), disabled: m.GetDisableActiveHealthCheck()}
	if m.GetPortValue() > 65535 {
		e.p.Errorf(e.where("health_check_config", "port_value"), "", "not a port: %d", m.GetPortValue())
	}
	if s := m.GetAddress().GetSocketAddress(); s != nil {
		ip, err := netip.ParseAddr(s.GetAddress())
		if err != nil {
			e.p.Errorf(e.where("health_check_config", "address", "socket_address", "address"), "", "malformed IP address: %s", s.GetAddress())
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
