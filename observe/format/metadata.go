package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weftproxy/weft/observe"
)

// metadataOperators print metadata and filter state. Immutable.
var metadataOperators = map[string]definition{
	"DYNAMIC_METADATA":  {needArgs | mayTruncate, metadataOf(dynamicMetadata)},
	"CLUSTER_METADATA":  {needArgs | mayTruncate, metadataOf(clusterMetadata)},
	"UPSTREAM_METADATA": {needArgs | mayTruncate, metadataOf(hostMetadata)},
	"METADATA":          {needArgs | mayTruncate, compileMetadata},
	"FILTER_STATE":      {needArgs | mayTruncate, compileFilterState},
	"PER_REQUEST_STATE": {needArgs, func(c command, _ Options) (*operator, error) { return filterState(c.args, false), nil }},
}

func dynamicMetadata(e *observe.Entry, namespace string) (any, bool) {
	if e.Record != nil {
		if v, ok := e.Record.Metadata[namespace]; ok {
			return v, true
		}
	}
	if e.Conn != nil {
		if v, ok := e.Conn.Metadata[namespace]; ok {
			return v, true
		}
	}
	return nil, false
}

func clusterMetadata(e *observe.Entry, namespace string) (any, bool) {
	v, ok := e.Metadata.Cluster[namespace]
	return v, ok
}

func hostMetadata(e *observe.Entry, namespace string) (any, bool) {
	v, ok := e.Metadata.Host[namespace]
	return v, ok
}

func routeMetadata(e *observe.Entry, namespace string) (any, bool) {
	v, ok := e.Metadata.Route[namespace]
	return v, ok
}

// metadataOf compiles NAMESPACE:KEY:KEY... and the JSON list that header formats used before.
func metadataOf(source func(*observe.Entry, string) (any, bool)) func(command, Options) (*operator, error) {
	return func(c command, _ Options) (*operator, error) {
		path := strings.Split(c.args, ":")
		if strings.HasPrefix(c.args, "[") {
			path = nil
			if err := json.Unmarshal([]byte(c.args), &path); err != nil {
				return nil, errors.New("the parameters must be NAMESPACE:KEY... or a JSON list of strings")
			}
		}
		if len(path) == 0 || path[0] == "" {
			return nil, errors.New("the namespace is missing")
		}
		return &operator{run: runMetadata, kind: kindValue, peer: true, metadata: source, path: path}, nil
	}
}

// compileMetadata compiles TYPE:NAMESPACE:KEY..., the operator of the envoy.formatter.metadata extension.
func compileMetadata(c command, o Options) (*operator, error) {
	kind, rest, _ := strings.Cut(c.args, ":")
	var source func(*observe.Entry, string) (any, bool)
	switch kind {
	case "DYNAMIC":
		source = dynamicMetadata
	case "CLUSTER":
		source = clusterMetadata
	case "ROUTE":
		source = routeMetadata
	case "UPSTREAM_HOST":
		source = hostMetadata
	default:
		return nil, fmt.Errorf("metadata of type %q is not supported", kind)
	}
	c.args = rest
	return metadataOf(source)(c, o)
}

// value looks up what a metadata operator names.
func (o *operator) value(e *observe.Entry) (any, bool) {
	if o.metadata == nil { // filter state
		if e.Record == nil {
			return nil, false
		}
		v, ok := e.Record.FilterState[o.text]
		return v, ok
	}
	v, ok := o.metadata(e, o.path[0])
	for _, key := range o.path[1:] {
		switch m := v.(type) {
		case map[string]any:
			v, ok = m[key]
		case map[string]string:
			v, ok = m[key]
		default:
			return nil, false
		}
		if !ok {
			return nil, false
		}
	}
	return v, ok && v != nil
}

// runMetadata prints strings as they are and everything else as JSON.
func runMetadata(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	v, ok := o.value(e)
	if !ok {
		return dst, false
	}
	if s, is := v.(string); is {
		return append(dst, s...), true
	}
	return appendValue(dst, v), true
}

func compileFilterState(c command, _ Options) (*operator, error) {
	key, form, _ := strings.Cut(c.args, ":")
	switch {
	case key == "":
		return nil, errors.New("the key is missing")
	case form == "PLAIN":
		return filterState(key, false), nil
	case form == "" || form == "TYPED":
		return filterState(key, true), nil
	case form == "FIELD" || strings.HasPrefix(form, "FIELD:"):
		return nil, errors.New("fields of filter state are not supported; use PLAIN")
	}
	return nil, errors.New("the second parameter must be PLAIN or TYPED")
}

// filterState prints an object of the filter state; typed is as JSON, which for a string means in quotes.
func filterState(key string, typed bool) *operator {
	op := &operator{run: runMetadata, kind: kindValue, peer: true, text: key}
	if typed {
		op.run = func(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
			v, ok := o.value(e)
			if !ok {
				return dst, false
			}
			return appendValue(dst, v), true
		}
	}
	return op
}
