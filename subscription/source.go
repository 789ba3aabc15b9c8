package subscription

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
)

// A Source is where resources come from: an Envoy ConfigSource. Sources are the same when their IDs are.
type Source struct {
	ID     string
	Config *corev3.ConfigSource // not modified
}

// DefaultFetchTimeout is how long a user waits for the first version of a resource, unless initial_fetch_timeout says otherwise.
const DefaultFetchTimeout = 15 * time.Second

// NewSource returns the source that a ConfigSource describes, whatever its initial_fetch_timeout.
func NewSource(cs *corev3.ConfigSource) Source {
	where := proto.CloneOf(cs)
	where.InitialFetchTimeout = nil
	where.ResourceApiVersion = corev3.ApiVersion_V3
	id, err := proto.MarshalOptions{Deterministic: true}.Marshal(where)
	if err != nil { // a string that is not UTF-8; it equals only itself
		id = []byte(where.String())
	}
	return Source{ID: string(id), Config: cs}
}

// ADS reports whether the source is the aggregated one of the bootstrap.
func (s Source) ADS() bool { return s.Config.GetAds() != nil }

// String names the source for people.
func (s Source) String() string {
	switch x := s.Config.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads:
		return "ads"
	case *corev3.ConfigSource_PathConfigSource:
		return x.PathConfigSource.GetPath()
	case *corev3.ConfigSource_Path:
		return x.Path
	case *corev3.ConfigSource_ApiConfigSource:
		return apiName(x.ApiConfigSource)
	}
	return "unknown source"
}

// apiName names who is asked, the first where there are several.
func apiName(a *corev3.ApiConfigSource) string {
	switch services, clusters := a.GetGrpcServices(), a.GetClusterNames(); {
	case len(services) > 0 && services[0].GetEnvoyGrpc() != nil:
		return "cluster " + services[0].GetEnvoyGrpc().GetClusterName()
	case len(services) > 0:
		return services[0].GetGoogleGrpc().GetTargetUri()
	case len(clusters) > 0:
		return "cluster " + clusters[0]
	}
	return "unknown source"
}

// timeout is the source's initial_fetch_timeout; 0: forever.
func (s Source) timeout() time.Duration {
	if d := s.Config.GetInitialFetchTimeout(); d != nil {
		return d.AsDuration()
	}
	return DefaultFetchTimeout
}

// A topic's identity.
type topicKey struct {
	source string
	key    resource.Key
}
