package upstream

import (
	"testing"
	"time"
)

func TestTheRuntimeHasThePanicThreshold(t *testing.T) {
	yaml := static("", spot("", "10.0.0.1", "10.0.0.2 health_status: UNHEALTHY", "10.0.0.3 health_status: UNHEALTHY"))
	for value, want := range map[string]int{"": 3, "10": 1, "0": 1, "70": 3, "1000": 3, "-1": 3, "x": 3} {
		w := newWorld(t)
		w.env.Runtime = func(key string) (string, bool) {
			return value, key == "upstream.healthy_panic_threshold" && value != ""
		}
		if got := tally(t, w.start(yaml), 500); len(got) != want {
			t.Errorf("%q: picked %v, want %d hosts", value, got, want)
		}
	}
}

func TestTheRuntimeHasTheBiasOfLeastRequest(t *testing.T) {
	for _, yaml := range []string{
		"lb_policy: LEAST_REQUEST\nleast_request_lb_config: {active_request_bias: {default_value: 2, runtime_key: bias}}",
		`load_balancing_policy:
  policies:
  - typed_extension_config:
      name: x
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
        active_request_bias: {default_value: 2, runtime_key: bias}`,
	} {
		for value, want := range map[string]float64{"": 2, "0.5": 0.5, "0": 0, "-1": 2, "Inf": 2} {
			w := newWorld(t)
			w.env.Runtime = func(key string) (string, bool) { return value, key == "bias" && value != "" }
			if got := w.compile(static(yaml, spot("", "10.0.0.1"))).Config.balancing().Bias; got != want {
				t.Errorf("%q: bias %v, want %v", value, got, want)
			}
		}
	}
}

func TestTheRuntimeBoundsTheTimeBetweenChecks(t *testing.T) {
	for _, tc := range []struct {
		least, most string
		want        time.Duration
	}{
		{"", "", 5 * time.Second}, {"10000", "", 10 * time.Second}, {"", "100", 100 * time.Millisecond}, {"1", "99999999999999999999", 5 * time.Second},
		{"7000", "6000", 7 * time.Second}, {"x", "-1", 5 * time.Second},
	} {
		s := settings{lookup: func(key string) (string, bool) {
			v := map[string]string{"health_check.min_interval": tc.least, "health_check.max_interval": tc.most}[key]
			return v, v != ""
		}}
		if got := s.checkInterval(5 * time.Second); got != tc.want {
			t.Errorf("at least %q, at most %q: %v, want %v", tc.least, tc.most, got, tc.want)
		}
	}
	if got := (&settings{}).checkInterval(5 * time.Second); got != 5*time.Second {
		t.Errorf("without a runtime: %v", got)
	}
}
