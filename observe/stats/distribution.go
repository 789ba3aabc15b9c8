package stats

import (
	"math"
	"math/bits"
	"slices"
)

// A bucket is how many values fell into one of a histogram's buckets.
type bucket struct {
	index int32
	count uint64
}

// A distribution is the values of a histogram: the buckets that have any, ascending.
type distribution struct {
	buckets []bucket
	count   uint64
	sum     uint64
}

// history is what Flush remembers of a histogram.
type history struct {
	total    distribution // at the last Flush
	interval distribution // from the Flush before it to the last
	flushed  bool
}

// quantiles are the ones Envoy computes. Immutable.
var quantiles = [...]float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}

// defaultBuckets are the upper bounds of Envoy's HistogramSettingsImpl::defaultBuckets. Immutable.
var defaultBuckets = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000,
	1800000, 3600000}

// quantiles is the distribution's quantiles, each interpolated within its bucket; all NaN if there are no values.
func (d *distribution) quantiles() (out [len(quantiles)]float64) {
	if d.count == 0 {
		for i := range out {
			out[i] = math.NaN()
		}
		return out
	}
	at, below := 0, 0.0 // values in the buckets before at
	for i, q := range quantiles {
		want := q * float64(d.count)
		for at < len(d.buckets)-1 && below+float64(d.buckets[at].count) < want {
			below += float64(d.buckets[at].count)
			at++
		}
		lower, width := bucketBounds(int(d.buckets[at].index))
		out[i] = lower + (want-below)/float64(d.buckets[at].count)*width
	}
	return out
}

// cumulative sets out to, for each bound, how many values are in buckets that end at or before it (circllhist's count_below; so
// the value 5 counts for the bound 10, its bucket ends at 5.1).
func (d *distribution) cumulative(out []uint64, bounds []float64) []uint64 {
	out = slices.Grow(out[:0], len(bounds))[:len(bounds)]
	at, n := 0, uint64(0)
	for i, bound := range bounds {
		for ; at < len(d.buckets); at++ {
			lower, width := bucketBounds(int(d.buckets[at].index))
			if lower+width > bound {
				break
			}
			n += d.buckets[at].count
		}
		out[i] = n
	}
	return out
}

// flush ends an interval with the distribution now.
func (h *history) flush(now distribution) {
	if now.count == 0 && !h.flushed {
		return
	}
	h.flushed = true
	h.interval.count, h.interval.sum = 0, now.sum-h.total.sum
	h.interval.buckets = h.interval.buckets[:0]
	old := h.total.buckets
	for _, b := range now.buckets {
		for len(old) > 0 && old[0].index < b.index {
			old = old[1:]
		}
		if len(old) > 0 && old[0].index == b.index {
			b.count -= old[0].count
		}
		if b.count > 0 {
			h.interval.buckets = append(h.interval.buckets, b)
			h.interval.count += b.count
		}
	}
	h.total = distribution{append(h.total.buckets[:0], now.buckets...), now.count, now.sum}
}

// reset empties one cell. A Record under way may survive it.
func (h *Histogram) reset() { h.data.Store(nil) }

// A histogramReader adds up the cells of histograms, one histogram at a time, in memory it keeps.
type histogramReader struct {
	counts [numPages * pageSize]uint64 // all zero between reads
	pages  uint64                      // bit i: page i of counts is in use
	sum    uint64
	out    []bucket
}

// total is the distribution of all that the refs have recorded. Its buckets are valid until the reader is used again.
func (r *histogramReader) total(refs ...ref) distribution {
	for _, one := range refs {
		if one.g == nil {
			r.add(&one.item.single.histogram)
		} else if t := one.g.table.Load(); t != nil {
			for i := range t.lanes {
				if p := t.field(i, one.item.offset); p != nil {
					r.add((*Histogram)(p))
				}
			}
		}
	}
	return r.take()
}

// interval is the distribution of what the refs have recorded between the last two calls of Flush. Its buckets are valid
// until the reader is used again.
func (r *histogramReader) interval(s *Store, refs []ref) distribution {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	for _, one := range refs {
		h := one.past()
		if h == nil {
			continue
		}
		r.sum += h.interval.sum
		for _, b := range h.interval.buckets {
			r.pages |= 1 << (b.index / pageSize)
			r.counts[b.index] += b.count
		}
	}
	return r.take()
}

// take is the distribution that was added up, and clears the reader for the next.
func (r *histogramReader) take() distribution {
	d := distribution{sum: r.sum}
	r.out = r.out[:0]
	for ; r.pages != 0; r.pages &= r.pages - 1 {
		first := bits.TrailingZeros64(r.pages) * pageSize
		page := r.counts[first : first+pageSize]
		for i, n := range page {
			if n != 0 {
				r.out = append(r.out, bucket{int32(first + i), n})
				d.count += n
			}
		}
		clear(page)
	}
	r.sum = 0
	d.buckets = r.out
	return d
}

func (r *histogramReader) add(h *Histogram) {
	d := h.data.Load()
	if d == nil {
		return
	}
	r.sum += d.sum.Load()
	for i := range d.pages {
		if p := d.pages[i].Load(); p != nil {
			r.pages |= 1 << i
			for j := range p {
				r.counts[i*pageSize+j] += p[j].Load()
			}
		}
	}
}
