//go:build linux

package main

import (
	"fmt"
	"slices"
)

// A spread is a number measured in several rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns nil for no values.
func spreadOf(v []float64) *spread {
	if len(v) == 0 {
		return nil
	}
	s := slices.Sorted(slices.Values(v))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return &spread{Median: median, Min: s[0], Max: s[len(s)-1]}
}

// format writes "median (min–max)", or the median alone where all are equal.
func (s *spread) format(digits int) string {
	if s == nil {
		return "–"
	}
	median := fmt.Sprintf("%.*f", digits, s.Median)
	low, high := fmt.Sprintf("%.*f", digits, s.Min), fmt.Sprintf("%.*f", digits, s.Max)
	if low == high {
		return median
	}
	return median + " (" + low + "–" + high + ")"
}

// ratios divides round by round, so that what slows a whole round down cancels out.
func ratios(v, by []float64) []float64 {
	var r []float64
	for i := range min(len(v), len(by)) {
		if by[i] != 0 {
			r = append(r, v[i]/by[i])
		}
	}
	return r
}

// values draws one column from all samples.
func values(samples []sample, c column) []float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = c.value(s)
	}
	return v
}
