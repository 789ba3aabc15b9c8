package xds

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/resource"
)

// Check reports what is wrong with a source, or not supported, to p: it is for subscription.Options.Check. What the supported fields say
// about its messages is not repeated.
func (c *Client) Check(cs *corev3.ConfigSource, at resource.Path, p *resource.Problems) {
	if len(cs.GetAuthorities()) > 0 {
		p.Unsupported(at.Field("authorities"), "name the source itself")
	}
	if cs.GetResourceApiVersion() == corev3.ApiVersion_V2 {
		p.Unsupported(at.Field("resource_api_version"), "use V3")
	}
	switch x := cs.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads:
		if c.ads() == nil {
			p.Errorf(at.Field("ads"), "add dynamic_resources.ads_config to the bootstrap", "there is no aggregated source")
		}
		c.CheckADS(p)
	case *corev3.ConfigSource_ApiConfigSource:
		c.checkAPI(x.ApiConfigSource, at.Field("api_config_source"), p)
	case *corev3.ConfigSource_PathConfigSource, *corev3.ConfigSource_Path:
		checkPath(cs, at, p)
	case *corev3.ConfigSource_Self:
		p.Unsupported(at.Field("self"), "use ads")
	default:
		p.Errorf(at, "set ads, api_config_source or path_config_source", "names no source")
	}
}

// CheckADS reports what is wrong with the aggregated source of the bootstrap to p.
func (c *Client) CheckADS(p *resource.Problems) {
	a := c.ads()
	if a == nil {
		return
	}
	const at = resource.Path("dynamic_resources.ads_config")
	switch a.GetApiType() {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC:
		c.checkGRPC(a, at, p)
	default:
		p.Errorf(at.Field("api_type"), "use GRPC or DELTA_GRPC", "an aggregated source is not asked by %v", a.GetApiType())
	}
}

// ads is the aggregated source of the bootstrap, nil if there is none.
func (c *Client) ads() *corev3.ApiConfigSource {
	return c.o.Bootstrap.GetDynamicResources().GetAdsConfig()
}

func (c *Client) checkAPI(a *corev3.ApiConfigSource, at resource.Path, p *resource.Problems) {
	switch a.GetApiType() {
	case corev3.ApiConfigSource_REST:
		c.checkREST(a, at, p)
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC,
		corev3.ApiConfigSource_AGGREGATED_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		c.checkGRPC(a, at, p)
	default:
		p.Add(resource.Problem{
			Path: at.Field("api_type"), Kind: resource.UnsupportedValue, Message: a.GetApiType().String() + " is not supported",
			Hint: "use GRPC, DELTA_GRPC or REST",
		})
	}
}

func (c *Client) checkGRPC(a *corev3.ApiConfigSource, at resource.Path, p *resource.Problems) {
	if v := a.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
		p.Errorf(at.Field("transport_api_version"), "set it to V3", "%v is not supported: Envoy's v2 API has ended", v)
	}
	if len(a.GetClusterNames()) > 0 {
		p.Errorf(at.Field("cluster_names"), "set grpc_services", "is for REST only")
	}
	if n := len(a.GetGrpcServices()); n != 1 {
		p.Errorf(at.Field("grpc_services"), "", "has %d services, want 1", n)
		return
	}
	c.checkService(a.GetGrpcServices()[0], at.Field("grpc_services").Index(0), p)
}

func (c *Client) checkService(g *corev3.GrpcService, at resource.Path, p *resource.Problems) {
	switch x := g.GetTargetSpecifier().(type) {
	case *corev3.GrpcService_EnvoyGrpc_:
		at := at.Field("envoy_grpc").Field("cluster_name")
		switch name := x.EnvoyGrpc.GetClusterName(); {
		case name == "":
			p.Errorf(at, "", "is empty")
		case c.o.ClusterKnown != nil && !c.o.ClusterKnown(name):
			p.Errorf(at, "add it to static_resources.clusters", "unknown cluster %q", clip(name))
		}
	case *corev3.GrpcService_GoogleGrpc_:
		checkGoogle(x.GoogleGrpc, at.Field("google_grpc"), p)
	default:
		p.Errorf(at, "set envoy_grpc or google_grpc", "names no service")
	}
	for i, h := range g.GetInitialMetadata() {
		at := at.Field("initial_metadata").Index(i)
		switch {
		case h.GetKey() == "" || strings.HasPrefix(h.GetKey(), ":") || strings.HasPrefix(strings.ToLower(h.GetKey()), "grpc-"):
			p.Errorf(at.Field("key"), "", "%q is not a name for metadata", clip(h.GetKey()))
		case strings.Contains(h.GetValue(), "%"):
			p.Unsupported(at.Field("value"), "a value with % commands; give the text itself")
		}
	}
}

func checkGoogle(g *corev3.GrpcService_GoogleGrpc, at resource.Path, p *resource.Problems) {
	if g.GetTargetUri() == "" {
		p.Errorf(at.Field("target_uri"), "", "is empty")
	}
	if _, err := credentialsOf(g); err != nil {
		p.Errorf(at.Field("channel_credentials").Field("ssl_credentials"), "", "%v", err)
	}
}
