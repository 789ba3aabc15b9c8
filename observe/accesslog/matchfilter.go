package accesslog

import (
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/observe"
)

// headerFilter lets entries through whose request has a header.
type headerFilter struct{ header *match.Header }

func newHeaderFilter(cfg *accesslogv3.HeaderFilter) (Filter, error) {
	h, err := match.NewHeader(cfg.GetHeader())
	if err != nil {
		return nil, fmt.Errorf("header_filter.header: %w", err)
	}
	return headerFilter{h}, nil
}

// Match implements Filter.
func (f headerFilter) Match(e *observe.Entry) bool {
	return e.Request != nil && f.header.MatchRequest(e.Request)
}

// metadataFilter lets entries through whose dynamic metadata matches, or has no such key where missing says so.
type metadataFilter struct {
	metadata  *match.Metadata // nil: only whether the key is there counts
	namespace string
	path      []string
	missing   bool
}

func newMetadataFilter(cfg *accesslogv3.MetadataFilter) (Filter, error) {
	f := &metadataFilter{missing: cfg.GetMatchIfKeyNotFound() == nil || cfg.GetMatchIfKeyNotFound().GetValue()}
	m := cfg.GetMatcher()
	if m == nil {
		return f, nil
	}
	f.namespace = m.GetFilter()
	for _, segment := range m.GetPath() {
		f.path = append(f.path, segment.GetKey())
	}
	var err error
	if f.metadata, err = match.NewMetadata(m); err != nil {
		return nil, fmt.Errorf("metadata_filter.matcher: %w", err)
	}
	return f, nil
}

// Match implements Filter.
func (f *metadataFilter) Match(e *observe.Entry) bool {
	if f.metadata == nil || !f.there(e.Record.Metadata[f.namespace]) {
		return f.missing
	}
	return f.metadata.Match(e.Record.Metadata)
}

func (f *metadataFilter) there(object map[string]any) bool {
	for i, key := range f.path {
		v, ok := object[key]
		if !ok {
			return false
		}
		if i == len(f.path)-1 {
			return true
		}
		object, _ = v.(map[string]any)
	}
	return false
}
