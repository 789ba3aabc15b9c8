package file

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/resource"
)

// The runtime keys that mean something here.
const (
	// RuntimeMaxConnections is the limit of downstream connections of the whole process.
	RuntimeMaxConnections = "overload.global_downstream_max_connections"
	// RuntimeListenerLimit and RuntimeListenerLimitSuffix surround a listener's name: its limit of connections.
	RuntimeListenerLimit       = "envoy.resource_limits.listener."
	RuntimeListenerLimitSuffix = ".connection_limit"
)

// Runtime is what the static layers of a Bootstrap set, as text by dotted key; later layers replace what earlier ones set. A
// FractionalPercent is the JSON of its message.
func Runtime(b *bootstrapv3.Bootstrap) map[string]string {
	values := map[string]string{}
	for _, layer := range b.GetLayeredRuntime().GetLayers() {
		flatten("", "", layer.GetStaticLayer(), func(key string, _ resource.Path, v *structpb.Value) { values[key] = runtimeText(v) })
	}
	return values
}

func runtimeText(v *structpb.Value) string {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(k.NumberValue, 'f', -1, 64)
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	case *structpb.Value_StructValue, *structpb.Value_ListValue:
		text, err := json.Marshal(v.AsInterface()) // sorted keys, unlike protojson's text a stable one
		if err != nil {
			return ""
		}
		return string(text)
	default:
		return ""
	}
}

// flatten calls f for each value in s, in the order of their keys. A FractionalPercent is one value.
func flatten(prefix string, at resource.Path, s *structpb.Struct, f func(key string, at resource.Path, v *structpb.Value)) {
	for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		v := s.GetFields()[name]
		inner := v.GetStructValue()
		if inner == nil || inner.GetFields()["numerator"] != nil || inner.GetFields()["denominator"] != nil {
			f(prefix+name, at.Key(name), v)
			continue
		}
		flatten(prefix+name+".", at.Key(name), inner, f)
	}
}

// checkRuntime reports the keys of static layers that Envoy reads on its own account and Weft does not. Any other key may be the
// runtime_key of some field.
func checkRuntime(b *bootstrapv3.Bootstrap, p *resource.Problems) {
	for i, layer := range b.GetLayeredRuntime().GetLayers() {
		at := resource.Path("layered_runtime").Field("layers").Index(i).Field("static_layer")
		flatten("", at, layer.GetStaticLayer(), func(key string, at resource.Path, v *structpb.Value) {
			switch {
			case key == RuntimeMaxConnections, strings.HasPrefix(key, RuntimeListenerLimit) && strings.HasSuffix(key, RuntimeListenerLimitSuffix):
				if n, err := strconv.ParseUint(runtimeText(v), 10, 64); err != nil || n > 1<<53 {
					p.Errorf(at, "", "%s must be a number of connections", key)
				}
			case isFeature(key):
				p.Add(resource.Problem{Path: at, Severity: resource.Note, Kind: resource.Ineffective,
					Message: key + " has no effect", Hint: "it guards a change in Envoy's own code"})
			case hasPrefix(key, "upstream.", "health_check.", "outlier_detection.", "circuit_breakers.", "overload.", "envoy.", "tracing.", "http.", "tcp."):
				p.Add(resource.Problem{Path: at, Severity: resource.Warning, Kind: resource.UnsupportedField,
					Message: key + " is not read, unless as a runtime_key of this configuration", Hint: "set the field it overrides instead"})
			}
		})
	}
}

// isFeature says whether a runtime key switches Envoy's implementation instead of configuring anything.
func isFeature(key string) bool {
	return hasPrefix(key, "envoy.reloadable_features.", "envoy.restart_features.", "envoy.deprecated_features", "envoy.features.", "re2.")
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(s, prefix) })
}
