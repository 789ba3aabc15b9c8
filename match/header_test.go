package match

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftproxy/weft/message"
)

// request returns a request with header fields given as name, value, name, value.
func request(fields ...string) *message.Request {
	r := &message.Request{Method: "GET", Scheme: "http", Authority: "example.com", Path: "/a?b=c", Body: message.NoBody}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func header(t testing.TB, cfg *routev3.HeaderMatcher) *Header {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "X-A"
	}
	h, err := NewHeader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeaderMatchesAsEnvoyDoes(t *testing.T) {
	one := request("x-a", "abc")
	none := request()
	two := request("X-A", "1", "x-b", "-", "x-A", "2")
	empty := request("x-a", "")
	five := request("x-a", " 5 ")
	text := func(m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
	}
	present := func(p bool) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: p}}
	}
	span := func(from, to int64) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: from, End: to}}}
	}
	not := func(m *routev3.HeaderMatcher) *routev3.HeaderMatcher { m.InvertMatch = true; return m }
	orEmpty := func(m *routev3.HeaderMatcher) *routev3.HeaderMatcher { m.TreatMissingHeaderAsEmpty = true; return m }
	for name, c := range map[string]struct {
		cfg  *routev3.HeaderMatcher
		r    *message.Request
		want bool
	}{
		"no specifier, there":              {&routev3.HeaderMatcher{}, one, true},
		"no specifier, missing":            {&routev3.HeaderMatcher{}, none, false},
		"no specifier, inverted, missing":  {not(&routev3.HeaderMatcher{}), none, true},
		"no specifier, inverted, there":    {not(&routev3.HeaderMatcher{}), one, false},
		"present true, missing":            {present(true), none, false},
		"present false, missing":           {present(false), none, true},
		"present false, there":             {present(false), one, false},
		"present false, inverted, there":   {not(present(false)), one, true},
		"present false, inverted, missing": {not(present(false)), none, false},
		"present, missing as empty":        {orEmpty(present(true)), none, true},
		"string":                           {text(exactly("abc")), one, true},
		"string, other":                    {text(exactly("abd")), one, false},
		"string, inverted, other":          {not(text(exactly("abd"))), one, true},
		"string, missing":                  {text(exactly("abc")), none, false},
		"string, inverted, missing":        {not(text(exactly("abc"))), none, false},
		"string, inverted, missing, empty": {orEmpty(not(text(exactly("abc")))), none, true},
		"empty string, missing as empty":   {orEmpty(text(exactly(""))), none, true},
		"empty string, empty":              {text(exactly("")), empty, true},
		"empty string, there":              {text(exactly("")), one, false},
		"joined":                           {text(exactly("1,2")), two, true},
		"joined, not the first alone":      {text(exactly("1")), two, false},
		"joined regex":                     {text(regexMatcher("1,.")), two, true},
		"range":                            {span(0, 6), five, true},
		"range ends before":                {span(0, 5), five, false},
		"range, not a number":              {span(0, 5), one, false},
		"range, inverted, not a number":    {not(span(0, 5)), one, true},
		"range, inverted, missing, empty":  {orEmpty(not(span(0, 10))), none, true},
		"range, inverted, missing":         {not(span(0, 10)), none, false},
		"range, negative":                  {span(-10, 0), request("x-a", "-1"), true},
		"exact_match":                      {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "abc"}}, one, true},
		"exact_match empty is any value":   {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{}}, one, true},
		"exact_match empty, missing":       {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{}}, none, false},
		"prefix_match":                     {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: "ab"}}, one, true},
		"suffix_match":                     {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: "ab"}}, one, false},
		"contains_match":                   {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: "b"}}, one, true},
		"safe_regex_match": {&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{
			SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "a.c"}}}, one, true},
	} {
		if got := header(t, c.cfg).MatchRequest(c.r); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHeaderMatchesPseudoHeaders(t *testing.T) {
	r := request()
	r.Upgrade = "websocket"
	for name, want := range map[string]string{
		":method": "GET", ":path": "/a?b=c", ":authority": "example.com", "Host": "example.com", ":scheme": "http", "upgrade": "websocket",
		"connection": "upgrade",
	} {
		h := header(t, &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exactly(want)}})
		if !h.MatchRequest(r) {
			t.Errorf("%v does not match", h)
		}
		if h.Match(&r.Header) {
			t.Errorf("%v matches a header section without it", h)
		}
	}
	if header(t, &routev3.HeaderMatcher{Name: ":cookie"}).MatchRequest(r) {
		t.Error("a pseudo-header that does not exist is there")
	}
	h := header(t, &routev3.HeaderMatcher{Name: ":status", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{
		RangeMatch: &typev3.Int64Range{Start: 500, End: 600}}})
	if !h.MatchResponse(&message.Response{Status: 503}) || h.MatchResponse(&message.Response{Status: 404}) {
		t.Error(":status is not matched")
	}
}

func TestHeaderRefusesWhatItCannotMatch(t *testing.T) {
	for name, cfg := range map[string]*routev3.HeaderMatcher{
		"no name":      {},
		"broken regex": {Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "("}}},
		"custom":       {Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{}}},
	} {
		if _, err := NewHeader(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMatchersAllocateNothing(t *testing.T) {
	r := request("x-a", "user=test-12", "cookie", `a=1; b="2"`, "x-n", "17")
	r.Path = "/a?x=1&y=2"
	re := header(t, &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regexMatcher(`user=(test|prod)-\d+`)}})
	number := header(t, &routev3.HeaderMatcher{Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{
		RangeMatch: &typev3.Int64Range{End: 20}}})
	q, err := NewQuery(&routev3.QueryParameterMatcher{Name: "y", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
		StringMatch: folded(exactly("2"))}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewCookie(&routev3.CookieMatcher{Name: "b", StringMatch: exactly("2")})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(200, func() {
		if !re.MatchRequest(r) || number.MatchRequest(r) || !q.Match(r.Path) || !k.Match(&r.Header) {
			t.Fatal("wrong match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
