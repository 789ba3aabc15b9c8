package server

import (
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

func statsConfig(t *testing.T, text string) *bootstrapv3.Bootstrap {
	t.Helper()
	c := &metricsv3.StatsConfig{}
	if err := protojson.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return &bootstrapv3.Bootstrap{StatsConfig: c}
}

func TestStatsMatcherChoosesWhatIsShown(t *testing.T) {
	const patterns = `{"patterns":[{"exact":"a.b"},{"prefix":"cluster."},{"suffix":"_ms"},{"contains":"X.y","ignoreCase":true},{"safeRegex":{"regex":"q\\d+"}}]}`
	in := map[string]bool{ // whether a pattern matches
		"a.b": true, "a.bc": false, "axb": false, "cluster.x": true, "my.cluster.x": false, "time_ms": true, "time_ms2": false,
		"zx.Yz": true, "q12": true, "q12x": false, "": false,
	}
	for list, rejects := range map[string]bool{"exclusionList": true, "inclusionList": false} {
		o, err := statsOptions(Options{}, statsConfig(t, `{"statsMatcher":{"`+list+`":`+patterns+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		for name, matched := range in {
			if got, want := o.Reject(name), matched == rejects; got != want {
				t.Errorf("%s: Reject(%q) = %t, want %t", list, name, got, want)
			}
		}
	}
	o, err := statsOptions(Options{}, statsConfig(t, `{"statsMatcher":{"rejectAll":true}}`))
	if err != nil || !o.Reject("x") {
		t.Errorf("reject_all shows x: %v", err)
	}
	if o, err := statsOptions(Options{}, statsConfig(t, `{}`)); err != nil || o.Reject != nil {
		t.Errorf("without a matcher something may be rejected: %v", err)
	}
	if _, err := statsOptions(Options{}, statsConfig(t, `{"statsMatcher":{"exclusionList":{"patterns":[{"safeRegex":{"regex":"("}}]}}}`)); err == nil {
		t.Error("a bad regular expression was taken")
	}
}

func TestHistogramBucketsGoToTheFirstMatch(t *testing.T) {
	o, err := statsOptions(Options{}, statsConfig(t,
		`{"histogramBucketSettings":[{"match":{"prefix":"a"},"buckets":[5,1]},{"match":{"prefix":"ab"},"buckets":[7]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Buckets("ab"); len(got) != 2 || got[0] != 1 || got[1] != 5 {
		t.Errorf("Buckets(ab) = %v, want [1 5]", got)
	}
	if got := o.Buckets("b"); got != nil {
		t.Errorf("Buckets(b) = %v, want the defaults", got)
	}
}
