package stats

import "fmt"

// histogramMode is how histograms are written.
type histogramMode uint8

const (
	summary histogramMode = iota
	cumulative
	disjoint
	detailed
)

// parseMode reads Envoy's histogram_buckets for text and JSON.
func parseMode(s string) (histogramMode, error) {
	switch s {
	case "", "none", "summary":
		return summary, nil
	case "cumulative":
		return cumulative, nil
	case "disjoint":
		return disjoint, nil
	case "detailed":
		return detailed, nil
	}
	return summary, fmt.Errorf("unknown histogram_buckets %q: want cumulative, disjoint, detailed or summary", s)
}
