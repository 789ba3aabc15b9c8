package match

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/message"
)

// A Header is a compiled HeaderMatcher (envoy.config.route.v3). Several fields of one name are matched as one value, joined by
// commas. Pseudo-headers (:path, :method, :authority or host, :scheme, :status) match what the message says.
type Header struct {
	field
	test     valueTest
	presence bool // present_match: nothing but whether the field is there counts
	present  bool // it must be there
	any      bool // the deprecated exact_match "": every value
	invert   bool
	empty    bool // treat_missing_header_as_empty
}

// NewHeader compiles a HeaderMatcher.
func NewHeader(cfg *routev3.HeaderMatcher) (*Header, error) {
	if cfg.GetName() == "" {
		return nil, fmt.Errorf("name: must not be empty")
	}
	h := &Header{field: newField(cfg.GetName()), invert: cfg.GetInvertMatch(), empty: cfg.GetTreatMissingHeaderAsEmpty(), present: true}
	var err error
	switch m := cfg.GetHeaderMatchSpecifier().(type) {
	case nil:
		h.presence = true
	case *routev3.HeaderMatcher_PresentMatch:
		h.presence, h.present = true, m.PresentMatch
	case *routev3.HeaderMatcher_ExactMatch:
		h.test.text, h.any = Exact(m.ExactMatch), m.ExactMatch == ""
	case *routev3.HeaderMatcher_PrefixMatch:
		h.test.text = String{kind: prefix, text: m.PrefixMatch}
	case *routev3.HeaderMatcher_SuffixMatch:
		h.test.text = String{kind: suffix, text: m.SuffixMatch}
	case *routev3.HeaderMatcher_ContainsMatch:
		h.test.text = String{kind: contains, text: m.ContainsMatch}
	case *routev3.HeaderMatcher_SafeRegexMatch:
		if h.test.text.re, err = RegexFrom(m.SafeRegexMatch); err != nil {
			return nil, fmt.Errorf("safe_regex_match: %w", err)
		}
		h.test.text.kind = regex
	case *routev3.HeaderMatcher_StringMatch:
		if h.test.text, err = NewString(m.StringMatch); err != nil {
			return nil, fmt.Errorf("string_match: %w", err)
		}
	case *routev3.HeaderMatcher_RangeMatch:
		h.test = valueTest{ranged: true, from: m.RangeMatch.GetStart(), to: m.RangeMatch.GetEnd()}
	default:
		return nil, fmt.Errorf("this form of header matcher is not supported")
	}
	return h, nil
}

// Match reports whether a header section matches; pseudo-headers are missing there.
func (m *Header) Match(h *message.Header) bool {
	if m.pseudo > plain && m.pseudo < upgrade || m.pseudo == noPseudo {
		return m.holds("", false)
	}
	return m.holds(m.inHeader(h))
}

// MatchRequest reports whether a request matches.
func (m *Header) MatchRequest(r *message.Request) bool { return m.holds(m.inRequest(r)) }

// MatchResponse reports whether a response matches.
func (m *Header) MatchResponse(r *message.Response) bool { return m.holds(m.inResponse(r)) }

func (m *Header) holds(value string, there bool) bool {
	switch {
	case m.presence:
		return (there || m.empty) == m.present != m.invert
	case !there && !m.empty:
		return false // a missing field satisfies no other condition, inverted or not
	default:
		return (m.any || m.test.holds(value)) != m.invert
	}
}

// String describes the condition, for people.
func (m *Header) String() string {
	switch {
	case m.presence && m.present != m.invert:
		return fmt.Sprintf("header %q is present", m.name)
	case m.presence:
		return fmt.Sprintf("header %q is absent", m.name)
	case m.any:
		return fmt.Sprintf("header %q has any value", m.name)
	case m.invert:
		return fmt.Sprintf("header %q not: %s", m.name, m.test.String())
	}
	return fmt.Sprintf("header %q %s", m.name, m.test.String())
}
