package route

import (
	"encoding/binary"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// A ScopeKeys finds the scope key of requests: Envoy's ScopeKeyBuilder. Immutable.
type ScopeKeys struct {
	fragments []extractor
}

// An extractor makes one fragment of a key from a header: Envoy's HeaderValueExtractor.
type extractor struct {
	header    string // lower case
	separator string // between elements; "": the value is one
	byKey     bool   // the element whose key is key, else that at index
	index     int
	key       string
	between   string // an element's key and its value
}

// CompileScopeKeys compiles a ScopeKeyBuilder whose place is at. Problems go to p.
func CompileScopeKeys(cfg *hcmv3.ScopedRoutes_ScopeKeyBuilder, at resource.Path, p *resource.Problems) *ScopeKeys {
	k := &ScopeKeys{}
	if len(cfg.GetFragments()) == 0 {
		p.Errorf(at.Field("fragments"), "", "must have at least one fragment")
	}
	for i, f := range cfg.GetFragments() {
		here := at.Field("fragments").Index(i).Field("header_value_extractor")
		x := f.GetHeaderValueExtractor()
		if x == nil {
			p.Errorf(at.Field("fragments").Index(i), "add a header_value_extractor", "has no type")
			continue
		}
		e := extractor{header: match.LowerASCII(x.GetName()), separator: x.GetElementSeparator()}
		if e.header == "" {
			p.Errorf(here.Field("name"), "", "must not be empty")
		}
		switch t := x.GetExtractType().(type) {
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index:
			if e.index = int(t.Index); e.index != 0 && e.separator == "" {
				p.Errorf(here.Field("index"), "add an element_separator", "Index > 0 for empty string element separator.")
			}
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
			e.byKey, e.key, e.between = true, t.Element.GetKey(), t.Element.GetSeparator()
			if e.key == "" {
				p.Errorf(here.Field("element").Field("key"), "", "must not be empty")
			}
			if e.between == "" {
				p.Errorf(here.Field("element").Field("separator"), "", "must not be empty")
			}
		default:
			p.Errorf(here, "add an index or an element", "HeaderValueExtractor extract_type not set.")
		}
		k.fragments = append(k.fragments, e)
	}
	return k
}

// Append appends the scope key of a request to dst, in the form of Scope.Key. ok is false when the request has none: a fragment is missing.
func (k *ScopeKeys) Append(dst []byte, r *message.Request) (key []byte, ok bool) {
	for i := range k.fragments {
		text, ok := k.fragments[i].extract(r)
		if !ok {
			return dst, false
		}
		dst = appendFragment(dst, text)
	}
	return dst, len(k.fragments) > 0
}

// appendFragment writes a fragment so that no two lists of fragments read the same.
func appendFragment(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// extract returns the fragment of a request. Of several headers of one name the first counts.
func (e *extractor) extract(r *message.Request) (string, bool) {
	value, ok := "", true
	switch e.header {
	case "host", ":authority":
		value, ok = r.Authority, r.Authority != ""
	case ":path":
		value = r.Path
	case ":method":
		value = r.Method
	case ":scheme":
		value = r.Scheme
	default:
		value, ok = r.Header.Lookup(e.header)
	}
	if !ok {
		return "", false
	}
	for i := 0; ; i++ {
		element, rest, more := value, "", false
		if e.separator != "" {
			element, rest, more = strings.Cut(value, e.separator)
		}
		if !e.byKey && i == e.index {
			return element, true
		}
		if e.byKey {
			if name, content, _ := strings.Cut(element, e.between); name == e.key {
				return content, true
			}
		}
		if !more {
			return "", false
		}
		value = rest
	}
}
