package file

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"gopkg.in/yaml.v3"

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

// RuntimeLayer is what a layer that a control plane sends sets, as Runtime has it. Lists and nulls, and numbers that a key of Weft's cannot have,
// are reported to p.
func RuntimeLayer(m *runtimev3.Runtime, p *resource.Problems) map[string]string {
	values := map[string]string{}
	flatten("", "layer", m.GetLayer(), func(key string, at resource.Path, v *structpb.Value) {
		if checkRuntimeValue(key, at, v, p) {
			values[key] = runtimeText(v)
		}
	})
	return values
}

// RuntimeText is a value as fields read it: a FractionalPercent written as YAML becomes the JSON of its message.
func RuntimeText(text string) string {
	if !strings.Contains(text, "numerator") || json.Valid([]byte(text)) {
		return text
	}
	var v map[string]any
	if yaml.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(b)
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

// checkRuntime reports layers that cannot be together, and the keys of static layers that Envoy reads on its own account and Weft does not. Any
// other key may be the runtime_key of some field.
func checkRuntime(b *bootstrapv3.Bootstrap, p *resource.Problems) {
	admin, names := false, map[string]bool{}
	for i, layer := range b.GetLayeredRuntime().GetLayers() {
		at := resource.Path("layered_runtime").Field("layers").Index(i)
		if name := layer.GetName(); name != "" && names[name] {
			p.Errorf(at.Field("name"), "", "duplicate layer name %q", name)
		}
		names[layer.GetName()] = true
		switch layer.GetLayerSpecifier().(type) {
		case *bootstrapv3.RuntimeLayer_AdminLayer_:
			if admin {
				p.Errorf(at.Field("admin_layer"), "", "there may be one admin layer at most")
			}
			admin = true
		case *bootstrapv3.RuntimeLayer_RtdsLayer_:
			if layer.GetRtdsLayer().GetName() == "" {
				p.Errorf(at.Field("rtds_layer").Field("name"), "the name of the Runtime resource", "must not be empty")
			}
			if layer.GetRtdsLayer().GetRtdsConfig() == nil {
				p.Errorf(at.Field("rtds_layer").Field("rtds_config"), "", "must be set")
			}
		case *bootstrapv3.RuntimeLayer_DiskLayer_:
			if layer.GetDiskLayer().GetSymlinkRoot() == "" {
				p.Errorf(at.Field("disk_layer").Field("symlink_root"), "the symbolic link that leads to the directory", "must not be empty")
			}
		}
		flatten("", at.Field("static_layer"), layer.GetStaticLayer(), func(key string, at resource.Path, v *structpb.Value) {
			if checkRuntimeValue(key, at, v, p) {
				checkRuntimeKey(key, at, p)
			}
		})
	}
}

// checkRuntimeValue reports a value that its key cannot have.
func checkRuntimeValue(key string, at resource.Path, v *structpb.Value, p *resource.Problems) bool {
	switch v.GetKind().(type) {
	case *structpb.Value_ListValue, *structpb.Value_NullValue, nil:
		p.Errorf(at, "a number, a text, true, false or a FractionalPercent", "invalid runtime entry value for %s", key)
		return false
	}
	if isLimit(key) {
		if n, err := strconv.ParseUint(runtimeText(v), 10, 64); err != nil || n > 1<<53 {
			p.Errorf(at, "", "%s must be a number of connections", key)
			return false
		}
	}
	return true
}

// isLimit says whether a key is a limit of connections.
func isLimit(key string) bool {
	return key == RuntimeMaxConnections || strings.HasPrefix(key, RuntimeListenerLimit) && strings.HasSuffix(key, RuntimeListenerLimitSuffix)
}

// isRead says whether a key of Envoy's own has its effect here.
func isRead(key string) bool {
	switch key {
	case "upstream.use_retry", "upstream.base_retry_backoff_ms", "upstream.healthy_panic_threshold",
		"health_check.min_interval", "health_check.max_interval", "config.do_not_validate_alpn_support",
		"overload.premature_reset_total_stream_count", "overload.premature_reset_min_stream_lifetime_seconds":
		return true
	}
	return false
}

func checkRuntimeKey(key string, at resource.Path, p *resource.Problems) {
	switch {
	case isLimit(key), isRead(key):
	case isFeature(key):
		p.Add(resource.Problem{Path: at, Severity: resource.Note, Kind: resource.Ineffective,
			Message: key + " has no effect", Hint: "it guards a change in Envoy's own code"})
	case hasPrefix(key, "upstream.", "health_check.", "outlier_detection.", "circuit_breakers.", "overload.", "envoy.", "tracing.", "http.", "tcp."):
		p.Add(resource.Problem{Path: at, Severity: resource.Warning, Kind: resource.UnsupportedField,
			Message: key + " is not read, unless as a runtime_key of this configuration", Hint: "set the field it overrides instead"})
	}
}

// isFeature says whether a runtime key switches Envoy's implementation instead of configuring anything.
func isFeature(key string) bool {
	return hasPrefix(key, "envoy.reloadable_features.", "envoy.restart_features.", "envoy.deprecated_features", "envoy.features.", "re2.")
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(s, prefix) })
}
