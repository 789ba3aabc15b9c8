package als

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

// A tag is a custom tag: a text that goes with every entry. Immutable.
type tag struct {
	name  string
	value string         // where format has nothing to say
	of    *format.Format // nil: value alone
}

// append appends the tag as an entry of a map, unless it is empty.
func (t *tag) append(b []byte, field protowire.Number, e *observe.Entry) []byte {
	if t.of == nil {
		return appendTag(b, field, t.name, t.value)
	}
	// The value is made behind the entries so far and then moved to its place, which begins with its head.
	end := len(b)
	b = t.of.Append(b, e)
	if len(b) == end {
		return appendTag(b, field, t.name, t.value)
	}
	return appendTag(b[:end], field, t.name, string(b[end:]))
}

func appendTag(b []byte, field protowire.Number, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendPair(b, field, name, value)
}

func compileTags(cfg []*tracingv3.CustomTag, o format.Options) ([]tag, error) {
	o.OmitEmpty = true
	var tags []tag
	for i, c := range cfg {
		t, err := compileTag(c, o)
		if err != nil {
			return nil, fmt.Errorf("custom_tags[%d].%w", i, err)
		}
		tags = append(tags, t)
	}
	return tags, nil
}

func compileTag(c *tracingv3.CustomTag, o format.Options) (tag, error) {
	t := tag{name: c.GetTag()}
	text, field := "", ""
	switch x := c.GetType().(type) {
	case *tracingv3.CustomTag_Literal_:
		t.value = x.Literal.GetValue()
		return t, nil
	case *tracingv3.CustomTag_Environment_:
		t.value = x.Environment.GetDefaultValue()
		if o.Getenv != nil {
			if v, ok := o.Getenv(x.Environment.GetName()); ok {
				t.value = v
			}
		}
		return t, nil
	case *tracingv3.CustomTag_RequestHeader:
		t.value, field = x.RequestHeader.GetDefaultValue(), "request_header"
		text = "%REQ(" + x.RequestHeader.GetName() + ")%"
	case *tracingv3.CustomTag_Metadata_:
		t.value, field = x.Metadata.GetDefaultValue(), "metadata"
		kind := metadataKind(x.Metadata.GetKind())
		if kind == "" {
			return t, errors.New("metadata.kind: is required")
		}
		text = "%METADATA(" + kind + ":" + metadataPath(x.Metadata.GetMetadataKey()) + ")%"
	case *tracingv3.CustomTag_Value:
		text, field = x.Value, "value"
	default:
		return t, errors.New("type: is required")
	}
	var err error
	if t.of, err = format.Compile(text, o); err != nil {
		return t, fmt.Errorf("%s: %w", field, err)
	}
	return t, nil
}

// metadataKind is whose metadata is meant, in the words of %METADATA%.
func metadataKind(k *metadatav3.MetadataKind) string {
	switch k.GetKind().(type) {
	case *metadatav3.MetadataKind_Request_:
		return "DYNAMIC"
	case *metadatav3.MetadataKind_Route_:
		return "ROUTE"
	case *metadatav3.MetadataKind_Cluster_:
		return "CLUSTER"
	case *metadatav3.MetadataKind_Host_:
		return "UPSTREAM_HOST"
	}
	return ""
}

// metadataPath is a path as a list in JSON, in which no character means something to format strings.
func metadataPath(k *metadatav3.MetadataKey) string {
	path := []string{k.GetKey()}
	for _, s := range k.GetPath() {
		path = append(path, s.GetKey())
	}
	text, err := json.Marshal(path)
	if err != nil {
		return "[]" // strings can be written as JSON
	}
	return strings.NewReplacer("%", `\u0025`, "(", `\u0028`, ")", `\u0029`).Replace(string(text))
}
