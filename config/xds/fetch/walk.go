package fetch

import (
	"encoding/base64"
	"strings"

	udpa "github.com/cncf/xds/go/udpa/annotations"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// A reference is a resource that another one names.
type reference struct{ url, name string }

// maxDepth bounds what is walked: a control plane may send anything.
const maxDepth = 200

// A walker finds the references in a message, and makes it fit to be shown: what is secret is taken out, and an Any of a type that is not
// linked is replaced by one that can be written as text.
type walker struct {
	refs   []reference
	reveal bool // show what is secret
	depth  int
}

func (w *walker) refer(kind, name string) {
	k, err := kindOf(kind)
	if err == nil && name != "" {
		w.refs = append(w.refs, reference{k.url, name})
	}
}

// message walks m and changes it.
func (w *walker) message(m protoreflect.Message) {
	if w.depth++; w.depth > maxDepth {
		w.depth--
		return
	}
	defer func() { w.depth-- }()
	w.references(m.Interface())
	if a, ok := m.Interface().(*anypb.Any); ok {
		w.any(a)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case !w.reveal && sensitive(fd):
			hide(m, fd)
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				w.message(v.Message())
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				w.message(v.List().Get(i).Message())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			w.message(v.Message())
		}
		return true
	})
}

// references notes what one message refers to by itself.
func (w *walker) references(m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		if m.GetType() == clusterv3.Cluster_EDS && aggregated(m.GetEdsClusterConfig().GetEdsConfig()) {
			name := m.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = m.GetName()
			}
			w.refer("endpoints", name)
		}
	case *hcmv3.Rds:
		if aggregated(m.GetConfigSource()) {
			w.refer("routes", m.GetRouteConfigName())
		}
	case *hcmv3.ScopedRoutes:
		if aggregated(m.GetScopedRds().GetScopedRdsConfigSource()) {
			w.refs = append(w.refs, reference{url: kinds()[2].url}) // all of them
		}
	case *tlsv3.SdsSecretConfig:
		if aggregated(m.GetSdsConfig()) {
			w.refer("secrets", m.GetName())
		}
	case *hcmv3.HttpFilter:
		if aggregated(m.GetConfigDiscovery().GetConfigSource()) {
			w.refer("extensions", m.GetName())
		}
	}
	if route, ok := m.(interface{ GetRouteConfigurationName() string }); ok { // a scoped route
		w.refer("routes", route.GetRouteConfigurationName())
	}
}

// aggregated reports whether a source is the stream that is being asked.
func aggregated(cs *corev3.ConfigSource) bool { return cs.GetAds() != nil || cs.GetSelf() != nil }

// any walks what is in an Any.
func (w *walker) any(a *anypb.Any) {
	if a.GetTypeUrl() == "" {
		return
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		w.replace(a, err)
		return
	}
	w.message(inner.ProtoReflect())
	if value, err := (proto.MarshalOptions{Deterministic: true}).Marshal(inner); err == nil {
		a.Value = value
	}
}

// replace puts what can be said of an Any that cannot be read in its place.
func (w *walker) replace(a *anypb.Any, why error) {
	fields := map[string]*structpb.Value{
		"unreadable_type": structpb.NewStringValue(a.GetTypeUrl()),
		"why":             structpb.NewStringValue(strings.ReplaceAll(why.Error(), "\u00a0", " ")),
	}
	if w.reveal || !strings.Contains(a.GetTypeUrl(), "Secret") {
		fields["base64"] = structpb.NewStringValue(base64.StdEncoding.EncodeToString(a.GetValue()))
	}
	if value, err := anypb.New(&structpb.Struct{Fields: fields}); err == nil {
		a.TypeUrl, a.Value = value.GetTypeUrl(), value.GetValue()
	}
}

// sensitive reports whether the protos mark a field so: private keys, passwords.
func sensitive(fd protoreflect.FieldDescriptor) bool {
	options := fd.Options()
	if options == nil {
		return false
	}
	marked, _ := proto.GetExtension(options, udpa.E_Sensitive).(bool)
	return marked
}

// hide takes out what a sensitive field holds; a file's name is not secret.
func hide(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	const hidden = "[redacted]"
	source := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: hidden}}
	switch {
	case fd.IsMap():
		m.Clear(fd)
	case fd.IsList() && fd.Message() != nil && fd.Message().FullName() == source.ProtoReflect().Descriptor().FullName():
		list := m.Get(fd).List()
		for i := range list.Len() {
			if one, ok := list.Get(i).Message().Interface().(*corev3.DataSource); ok && one.GetFilename() == "" {
				one.Specifier = source.GetSpecifier()
			}
		}
	case fd.IsList():
		m.Clear(fd)
	case fd.Message() != nil:
		if one, ok := m.Get(fd).Message().Interface().(*corev3.DataSource); !ok {
			m.Clear(fd)
		} else if one.GetFilename() == "" {
			one.Specifier = source.GetSpecifier()
		}
	case fd.Kind() == protoreflect.StringKind:
		m.Set(fd, protoreflect.ValueOfString(hidden))
	case fd.Kind() == protoreflect.BytesKind:
		m.Set(fd, protoreflect.ValueOfBytes([]byte(hidden)))
	default:
		m.Clear(fd)
	}
}
