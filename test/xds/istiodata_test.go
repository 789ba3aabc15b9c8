package xds

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftproxy/weft/test/kit"
)

// A recording is what istiod has sent to one proxy.
type recording []recorded

// A recorded is one of its resources.
type recorded struct {
	url, name string
	message   proto.Message
	tree      any // its JSON, with stand-ins for values of types that are not linked
}

// recordingKinds are the files of a recording, and what they hold.
var recordingKinds = []struct {
	file, url string
	empty     func() proto.Message
}{
	{"cds", kit.ClusterURL, func() proto.Message { return &clusterv3.Cluster{} }},
	{"eds", kit.EndpointURL, func() proto.Message { return &endpointv3.ClusterLoadAssignment{} }},
	{"lds", kit.ListenerURL, func() proto.Message { return &listenerv3.Listener{} }},
	{"rds", kit.RouteURL, func() proto.Message { return &routev3.RouteConfiguration{} }},
	{"ecds", kit.FilterURL, func() proto.Message { return &corev3.TypedExtensionConfig{} }},
}

// istioDir is the folder with the recordings, beside the repository.
func istioDir(t *testing.T) string {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", "data", "istio")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the recordings are missing: %v", err)
		}
		t.Skipf("the recordings are not here: %v", err)
	}
	return dir
}

// readRecording reads what istiod has sent in one case.
func readRecording(t *testing.T, dir string) recording {
	t.Helper()
	var out recording
	types := newRawTypes()
	for _, k := range recordingKinds {
		path := filepath.Join(dir, k.file+".json")
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) && k.file == "ecds" {
			continue
		}
		var all []any
		if err == nil {
			err = json.Unmarshal(text, &all)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for i, tree := range all {
			tree = types.wrap(tree)
			m := k.empty()
			if err := types.read(tree, m); err != nil {
				t.Fatalf("%s: resource %d: %v", path, i, err)
			}
			out = append(out, recorded{k.url, nameOf(m), m, tree})
		}
	}
	return out
}

// nameOf is the name of a resource, which is the first field of every kind.
func nameOf(m proto.Message) string {
	r := m.ProtoReflect()
	return r.Get(r.Descriptor().Fields().ByNumber(1)).String()
}

// rawTypes finds message types by name. One that is not linked into this binary becomes a message that has the JSON of the value as bytes
// in its first field: its name arrives as istiod sent it, and its content is nothing that anybody could read, as it should be.
type rawTypes struct {
	known map[protoreflect.FullName]protoreflect.MessageType // those that are not linked
}

func newRawTypes() *rawTypes {
	return &rawTypes{known: map[protoreflect.FullName]protoreflect.MessageType{}}
}

// read fills a message from a JSON tree without values of types that are not linked.
func (r *rawTypes) read(tree any, m proto.Message) error {
	text, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{Resolver: r}.Unmarshal(text, m)
}

// wrap replaces values of types that are not linked in a JSON tree.
func (r *rawTypes) wrap(tree any) any {
	switch x := tree.(type) {
	case []any:
		for i := range x {
			x[i] = r.wrap(x[i])
		}
	case map[string]any:
		if url, ok := x["@type"].(string); ok && !linked(url) {
			text, err := json.Marshal(x)
			if err != nil {
				panic(err)
			}
			return map[string]any{"@type": url, "raw": text} // []byte: base64
		}
		for k := range x {
			x[k] = r.wrap(x[k])
		}
	}
	return tree
}

func linked(url string) bool {
	_, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	return err == nil
}

// FindMessageByName implements the resolver.
func (r *rawTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if t, err := protoregistry.GlobalTypes.FindMessageByName(name); err == nil {
		return t, nil
	}
	if t := r.known[name]; t != nil {
		return t, nil
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String(string(name) + ".proto"), Package: proto.String(string(name.Parent())), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String(string(name.Name())),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("raw"), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum(),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}},
		}},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("a stand-in for %s: %w", name, err)
	}
	t := dynamicpb.NewMessageType(file.Messages().Get(0))
	r.known[name] = t
	return t, nil
}

// FindMessageByURL implements the resolver.
func (r *rawTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return r.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName implements the resolver: there are none.
func (r *rawTypes) FindExtensionByName(protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber implements the resolver: there are none.
func (r *rawTypes) FindExtensionByNumber(protoreflect.FullName, protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return nil, protoregistry.NotFound
}
