package stats

import (
	"math"
	"strconv"
)

// A reading is what a histogram has recorded.
type reading struct {
	store     *Store
	total     distribution
	interval  distribution
	bounds    []float64 // upper bounds of the buckets
	totals    histogramReader
	intervals histogramReader
}

// read takes the reading of the histogram of this full name.
func (r *reading) read(name []byte, refs []ref) {
	r.total = r.totals.total(refs...)
	r.interval = r.intervals.interval(r.store, refs)
	r.bounds = r.store.buckets(name)
}

// counts is how many values are in each of the bounds' buckets, in the interval and in total.
func (r *reading) counts(mode histogramMode) (interval, total []uint64) {
	interval, total = r.interval.cumulative(nil, r.bounds), r.total.cumulative(nil, r.bounds)
	if mode == disjoint {
		for i := len(interval) - 1; i > 0; i-- {
			interval[i] -= interval[i-1]
			total[i] -= total[i-1]
		}
	}
	return interval, total
}

// appendText appends what follows "name:" in the text format.
func (r *reading) appendText(b []byte, mode histogramMode) []byte {
	if r.total.count == 0 {
		return append(b, " No recorded values"...)
	}
	switch mode {
	case summary:
		b = r.appendQuantiles(append(b, ' '))
	case cumulative, disjoint:
		interval, total := r.counts(mode)
		for i, bound := range r.bounds {
			b = strconv.AppendFloat(append(b, " B"...), bound, 'g', 6, 64)
			b = strconv.AppendUint(append(b, '('), interval[i], 10)
			b = strconv.AppendUint(append(b, ','), total[i], 10)
			b = append(b, ')')
		}
	case detailed:
		b = appendBuckets(append(b, "\n  totals="...), r.total.buckets)
		b = appendBuckets(append(b, "\n  intervals="...), r.interval.buckets)
		b = r.appendQuantiles(append(b, "\n  summary="...))
	}
	return b
}

// appendQuantiles appends "P0(interval,total) P25(...) ...".
func (r *reading) appendQuantiles(b []byte) []byte {
	interval, total := r.interval.quantiles(), r.total.quantiles()
	for i, q := range quantiles {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendFloat(append(b, 'P'), 100*q, 'g', 6, 64)
		b = appendFloat(append(b, '('), interval[i])
		b = append(appendFloat(append(b, ','), total[i]), ')')
	}
	return b
}

// appendBuckets appends "lower,width:count, ...".
func appendBuckets(b []byte, buckets []bucket) []byte {
	for i, one := range buckets {
		if i > 0 {
			b = append(b, ", "...)
		}
		lower, width := bucketBounds(int(one.index))
		b = appendFloat(b, lower)
		b = appendFloat(append(b, ','), width)
		b = strconv.AppendUint(append(b, ':'), one.count, 10)
	}
	return b
}

// appendFloat appends the shortest digits that are f, "nan" if it is none, without an exponent below 1e16.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.Abs(f) < 1e16:
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'e', -1, 64)
}

// buckets is the upper bounds of the buckets of the histogram of this full name.
func (s *Store) buckets(name []byte) []float64 {
	if s.opts.Buckets != nil {
		if b := s.opts.Buckets(string(name)); b != nil {
			return b
		}
	}
	return defaultBuckets
}
