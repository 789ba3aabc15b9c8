package upstream

import (
	"net"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream/balance"
	"github.com/weftproxy/weft/upstream/discovery"
)

// balance compiles the balancer: load_balancing_policy, or else lb_policy.
func (x *compiler) balance() {
	c := x.c
	c.Panic = 50
	l := x.m.GetCommonLbConfig()
	if l.GetHealthyPanicThreshold() != nil {
		c.Panic = l.GetHealthyPanicThreshold().GetValue()
	}
	c.Locality = l.GetLocalityWeightedLbConfig() != nil
	c.NoPanic = l.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	c.IgnoreNewHosts = l.GetIgnoreNewHostsUntilFirstHc()
	c.CloseOnSetChange = l.GetCloseConnectionsOnHostSetChange()
	c.Balance = balance.Options{Choices: 2, Bias: 1}
	if policies := x.m.GetLoadBalancingPolicy().GetPolicies(); len(policies) > 0 {
		// Envoy takes the first policy that it knows; Check has refused configurations with unknown ones.
		x.policy(policies[0].GetTypedExtensionConfig().GetTypedConfig(),
			x.at.Field("load_balancing_policy").Field("policies").Index(0).Field("typed_extension_config").Field("typed_config"))
		return
	}
	switch x.m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		c.Balance.Policy = balance.RoundRobin
	case clusterv3.Cluster_LEAST_REQUEST:
		c.Balance.Policy = balance.LeastRequest
		o := x.m.GetLeastRequestLbConfig()
		if o.GetChoiceCount() != nil {
			c.Balance.Choices = int(o.GetChoiceCount().GetValue())
		}
		if o.GetActiveRequestBias() != nil {
			c.Balance.Bias, c.settings.biasKey = o.GetActiveRequestBias().GetDefaultValue(), o.GetActiveRequestBias().GetRuntimeKey()
		}
	case clusterv3.Cluster_RANDOM:
		c.Balance.Policy = balance.Random
	default:
		x.p.Unsupported(x.at.Field("lb_policy"), "ROUND_ROBIN, LEAST_REQUEST or RANDOM")
	}
	if c.Balance.Bias < 0 {
		x.p.Errorf(x.at.Field("least_request_lb_config").Field("active_request_bias"), "", "must not be negative")
	}
}

// policy compiles a load balancing policy that is given as an extension.
func (x *compiler) policy(any *anypb.Any, at resource.Path) {
	b := &x.c.Balance
	var err error
	switch resource.TypeOf(any) {
	case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
		var m *robinv3.RoundRobin
		if m, err = resource.Unpack[*robinv3.RoundRobin](any); err == nil {
			x.c.Locality = m.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
			x.c.NoPanic = m.GetLocalityLbConfig().GetZoneAwareLbConfig().GetFailTrafficOnPanic()
		}
	case "envoy.extensions.load_balancing_policies.random.v3.Random":
		b.Policy = balance.Random
		var m *randomv3.Random
		if m, err = resource.Unpack[*randomv3.Random](any); err == nil {
			x.c.Locality = m.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
			x.c.NoPanic = m.GetLocalityLbConfig().GetZoneAwareLbConfig().GetFailTrafficOnPanic()
		}
	case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
		b.Policy = balance.LeastRequest
		var m *leastv3.LeastRequest
		if m, err = resource.Unpack[*leastv3.LeastRequest](any); err == nil {
			x.c.Locality = m.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
			x.c.NoPanic = m.GetLocalityLbConfig().GetZoneAwareLbConfig().GetFailTrafficOnPanic()
			if m.GetChoiceCount() != nil {
				b.Choices = int(m.GetChoiceCount().GetValue())
			}
			if m.GetActiveRequestBias() != nil {
				b.Bias, x.c.settings.biasKey = m.GetActiveRequestBias().GetDefaultValue(), m.GetActiveRequestBias().GetRuntimeKey()
			}
		}
	default:
		x.p.Unsupported(at, "round_robin, least_request or random")
	}
	if err != nil {
		x.p.Errorf(at, "", "%v", err)
	}
}

// typedResolver compiles typed_dns_resolver_config. Every kind means Weft's own resolver, which has the options of c-ares.
func (x *compiler) typedResolver(t *corev3.TypedExtensionConfig, at resource.Path) discovery.Options {
	var o discovery.Options
	if resource.TypeOf(t.GetTypedConfig()) != "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig" {
		return o
	}
	m, err := resource.Unpack[*caresv3.CaresDnsResolverConfig](t.GetTypedConfig())
	if err != nil {
		x.p.Errorf(at, "", "%v", err)
		return o
	}
	o.Servers = x.servers(m.GetResolvers(), at.Field("resolvers"))
	o.TCP, o.NoSearch = m.GetDnsResolverOptions().GetUseTcpForDnsLookups(), m.GetDnsResolverOptions().GetNoDefaultSearchDomain()
	o.Timeout = time.Duration(m.GetQueryTimeoutSeconds().GetValue()) * time.Second
	o.Attempts = int(m.GetQueryTries().GetValue())
	return o
}

func hostPort(s *corev3.SocketAddress, port uint32) string {
	if s.GetPortValue() != 0 {
		port = s.GetPortValue()
	}
	return net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(port)))
}
