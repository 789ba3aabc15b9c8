package server

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/observe/stats"
)

// statsOptions compiles stats_config and --stats-tag.
func statsOptions(o Options, b *bootstrapv3.Bootstrap) (stats.Options, error) {
	c := b.GetStatsConfig()
	out := stats.Options{Lanes: concurrency(o), Tags: o.StatsTags}
	reject, err := statsMatcher(c.GetStatsMatcher())
	if err != nil {
		return out, fmt.Errorf("stats_config.stats_matcher: %w", err)
	}
	out.Reject = reject
	type setting struct {
		match  *regexp.Regexp
		bounds []float64
	}
	var settings []setting
	for i, s := range c.GetHistogramBucketSettings() {
		re, err := compileNames([]*matcherv3.StringMatcher{s.GetMatch()})
		if err != nil {
			return out, fmt.Errorf("stats_config.histogram_bucket_settings[%d].match: %w", i, err)
		}
		bounds := slices.Sorted(slices.Values(s.GetBuckets()))
		settings = append(settings, setting{re, bounds})
	}
	if len(settings) > 0 {
		out.Buckets = func(name string) []float64 {
			for _, s := range settings {
				if s.match.MatchString(name) {
					return s.bounds
				}
			}
			return nil
		}
	}
	return out, nil
}

// statsMatcher says which statistics are left out; nil: none.
func statsMatcher(m *metricsv3.StatsMatcher) (func(name string) bool, error) {
	switch s := m.GetStatsMatcher().(type) {
	case *metricsv3.StatsMatcher_RejectAll:
		if s.RejectAll {
			return func(string) bool { return true }, nil
		}
	case *metricsv3.StatsMatcher_ExclusionList:
		re, err := compileNames(s.ExclusionList.GetPatterns())
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	case *metricsv3.StatsMatcher_InclusionList:
		re, err := compileNames(s.InclusionList.GetPatterns())
		if err != nil {
			return nil, err
		}
		return func(name string) bool { return !re.MatchString(name) }, nil
	}
	return nil, nil
}

// compileNames makes one regular expression of many matchers: it matches a name that any of them does.
func compileNames(patterns []*matcherv3.StringMatcher) (*regexp.Regexp, error) {
	var all []string
	for _, m := range patterns {
		var one string
		switch p := m.GetMatchPattern().(type) {
		case *matcherv3.StringMatcher_Exact:
			one = "^" + regexp.QuoteMeta(p.Exact) + "$"
		case *matcherv3.StringMatcher_Prefix:
			one = "^" + regexp.QuoteMeta(p.Prefix)
		case *matcherv3.StringMatcher_Suffix:
			one = regexp.QuoteMeta(p.Suffix) + "$"
		case *matcherv3.StringMatcher_Contains:
			one = regexp.QuoteMeta(p.Contains)
		case *matcherv3.StringMatcher_SafeRegex:
			if _, err := regexp.Compile(p.SafeRegex.GetRegex()); err != nil {
				return nil, err
			}
			one = "^(?:" + p.SafeRegex.GetRegex() + ")$"
		default:
			return nil, fmt.Errorf("unknown kind of matcher")
		}
		if m.GetIgnoreCase() && m.GetSafeRegex() == nil { // which has no effect on a regular expression
			one = "(?i:" + one + ")"
		}
		all = append(all, "(?:"+one+")")
	}
	return regexp.Compile(strings.Join(all, "|"))
}
