package rbac

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/match"
)

// maxDepth bounds how deep rules are nested in each other.
const maxDepth = 100

// A compiler compiles the rules of one engine. Its errors begin with the place below the rule.
type compiler struct {
	http  bool // the subjects are requests
	depth int
}

// errHTTPOnly is what a network filter says of rules about requests. In a rule that is not evaluated there could be a hole.
var errHTTPOnly = errors.New("only the HTTP filter knows of requests; a network filter cannot evaluate this rule")

// errHidden is what rules about fields of one connection get, which would never be there.
var errHidden = errors.New("a field of one connection ends with that connection: filters do not see it")

// errNotSet is what a rule without content gets.
var errNotSet = errors.New("must not be empty")

func (c *compiler) header(cfg *routev3.HeaderMatcher) (rule, error) {
	if !c.http {
		return rule{}, fmt.Errorf("header: %w", errHTTPOnly)
	}
	switch strings.ToLower(cfg.GetName()) {
	case "transfer-encoding", "keep-alive", "proxy-connection", "http2-settings":
		return rule{}, fmt.Errorf("header.name: %s: %w", cfg.GetName(), errHidden)
	}
	h, err := match.NewHeader(cfg)
	return rule{kind: header, header: h}, under("header", err)
}

func (c *compiler) path(cfg *matcherv3.PathMatcher) (rule, error) {
	if !c.http {
		return rule{}, fmt.Errorf("url_path: %w", errHTTPOnly)
	}
	s, err := match.NewString(cfg.GetPath())
	return rule{kind: path, text: &s}, under("url_path.path", err)
}

func (c *compiler) metadata(kind kind, cfg *matcherv3.MetadataMatcher) (rule, error) {
	m, err := match.NewMetadata(cfg)
	return rule{kind: kind, metadata: m, key: cfg.GetFilter()}, err
}

func (c *compiler) sourced(cfg *rbacv3.SourcedMetadata) (rule, error) {
	from := dynamicMetadata
	switch cfg.GetMetadataSource() {
	case rbacv3.MetadataSource_DYNAMIC:
	case rbacv3.MetadataSource_ROUTE:
		if !c.http {
			return rule{}, fmt.Errorf("sourced_metadata.metadata_source: %w", errHTTPOnly)
		}
		from = routeMetadata
	default:
		return rule{}, fmt.Errorf("sourced_metadata.metadata_source: %s is not supported", cfg.GetMetadataSource())
	}
	r, err := c.metadata(from, cfg.GetMetadataMatcher())
	return r, under("sourced_metadata.metadata_matcher", err)
}

func (c *compiler) state(cfg *matcherv3.FilterStateMatcher) (rule, error) {
	if !c.http {
		return rule{}, fmt.Errorf("filter_state: %w", errHTTPOnly)
	}
	if cfg.GetKey() == "" {
		return rule{}, fmt.Errorf("filter_state.key: %w", errNotSet)
	}
	switch m := cfg.GetMatcher().(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		s, err := match.NewString(m.StringMatch)
		return rule{kind: stateText, key: cfg.GetKey(), text: &s}, under("filter_state.string_match", err)
	case *matcherv3.FilterStateMatcher_AddressMatch:
		var ranges []*corev3.CidrRange
		for _, r := range m.AddressMatch.GetRanges() { // which are of another package of the same shape
			ranges = append(ranges, &corev3.CidrRange{AddressPrefix: r.GetAddressPrefix(), PrefixLen: r.GetPrefixLen()})
		}
		set, err := match.NewCIDRs(ranges)
		r := rule{kind: stateAddr, key: cfg.GetKey(), addrs: set, invert: m.AddressMatch.GetInvertMatch()}
		return r, under("filter_state.address_match.ranges", err)
	}
	return rule{}, errors.New("filter_state: this form of matcher is not supported")
}

func addresses(kind kind, field string, cfg *corev3.CidrRange) (rule, error) {
	set, err := match.NewCIDRs([]*corev3.CidrRange{cfg})
	return rule{kind: kind, addrs: set}, under(field, err)
}

// descend counts a level of nesting; ascend has to follow.
func (c *compiler) descend() error {
	if c.depth++; c.depth > maxDepth {
		return fmt.Errorf("rules are nested more than %d deep", maxDepth)
	}
	return nil
}

func (c *compiler) ascend() { c.depth-- }

// under says in which field an error is.
func under(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

// below says in which message an error with a place of its own is.
func below(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s.%w", field, err)
}
