package als

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftproxy/weft/observe"
)

// appendMetadata appends the dynamic metadata as an envoy.config.core.v3.Metadata: the exchange's, and the connection's in namespaces where
// the exchange has none.
func appendMetadata(b []byte, field protowire.Number, e *observe.Entry) []byte {
	own := e.Record.Metadata
	if len(own) == 0 && (e.Conn == nil || len(e.Conn.Metadata) == 0) {
		return b
	}
	b, at := begin(b, field)
	var entry int // of filter_metadata
	for namespace, fields := range own {
		b, entry = begin(b, 1)
		b = appendText(b, 1, namespace)
		b = end(appendStruct(b, 2, fields), entry)
	}
	if e.Conn == nil {
		return end(b, at)
	}
	for namespace, fields := range e.Conn.Metadata {
		if _, ok := own[namespace]; ok {
			continue
		}
		b, entry = begin(b, 1)
		b = appendText(b, 1, namespace)
		b = end(appendTexts(b, 2, fields), entry)
	}
	return end(b, at)
}

// appendStruct appends a google.protobuf.Struct.
func appendStruct(b []byte, field protowire.Number, fields map[string]any) []byte {
	b, at := begin(b, field)
	for key, v := range fields {
		var entry int
		b, entry = begin(b, 1)
		b = appendText(b, 1, key)
		b = appendValue(b, 2, v)
		b = end(b, entry)
	}
	return end(b, at)
}

// appendTexts is appendStruct of strings.
func appendTexts(b []byte, field protowire.Number, fields map[string]string) []byte {
	b, at := begin(b, field)
	for key, s := range fields {
		var entry, value int
		b, entry = begin(b, 1)
		b = appendText(b, 1, key)
		b, value = begin(b, 2)
		b = end(appendString(b, s), value)
		b = end(b, entry)
	}
	return end(b, at)
}

// appendValue appends a google.protobuf.Value.
func appendValue(b []byte, field protowire.Number, v any) []byte {
	b, at := begin(b, field)
	switch v := v.(type) {
	case nil:
		b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 0)
	case float64:
		b = appendDouble(b, 2, v)
	case int:
		b = appendDouble(b, 2, float64(v))
	case int64:
		b = appendDouble(b, 2, float64(v))
	case uint64:
		b = appendDouble(b, 2, float64(v))
	case bool:
		b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), protowire.EncodeBool(v))
	case map[string]any:
		b = appendStruct(b, 5, v)
	case map[string]string:
		b = appendTexts(b, 5, v)
	case []any:
		var list int
		b, list = begin(b, 6)
		for _, item := range v {
			b = appendValue(b, 1, item)
		}
		b = end(b, list)
	case string:
		b = appendString(b, v)
	default:
		b = appendString(b, fmt.Sprint(v))
	}
	return end(b, at)
}

// appendString appends the string_value of a Value, also of "": without it the value would be none.
func appendString(b []byte, s string) []byte {
	if s == "" {
		return append(protowire.AppendTag(b, 3, protowire.BytesType), 0)
	}
	return appendText(b, 3, s)
}
