package stats

import (
	"math/bits"
	"sync/atomic"
)

// A Histogram counts values in log-linear buckets of two significant decimal digits, 90 a decade, as circllhist does: a
// value is known to within 10 %. The zero value is ready to use and costs one pointer until the first Record.
type Histogram struct {
	data atomic.Pointer[histogramData]
}

// Record counts one value, in the unit of the metric: milliseconds for *_time and *_ms, bytes for *_size.
func (h *Histogram) Record(v uint64) {
	d := h.data.Load()
	for d == nil { // a reset may take away what another recorder has just made
		fresh := new(histogramData)
		if h.data.CompareAndSwap(nil, fresh) {
			d = fresh
		} else {
			d = h.data.Load()
		}
	}
	i := bucketIndex(v)
	p := d.pages[i/pageSize].Load()
	if p == nil {
		p = d.grow(i / pageSize)
	}
	p[i%pageSize].Add(1)
	d.sum.Add(v)
}

// The buckets: 0 to 99 hold that one value each, then 90 for each further decade of uint64.
const (
	decades    = 18 // from 100 on; math.MaxUint64 has 20 digits
	numBuckets = 100 + 90*decades
	pageSize   = 32
	numPages   = (numBuckets + pageSize - 1) / pageSize // fits the bits of one word, see histogramReader
)

// histogramData is the storage of one cell: pages of buckets, present once a value fell into them.
type histogramData struct {
	sum   atomic.Uint64
	pages [numPages]atomic.Pointer[histogramPage]
}

type histogramPage [pageSize]atomic.Uint64

func (d *histogramData) grow(page int) *histogramPage {
	d.pages[page].CompareAndSwap(nil, new(histogramPage))
	return d.pages[page].Load()
}

// powersOfTen is immutable.
var powersOfTen = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
	1e17, 1e18, 1e19}

// bucketIndex is the bucket of v.
func bucketIndex(v uint64) int {
	if v < 100 {
		return int(v)
	}
	// 1233/4096 is log10(2) from below, exact enough for 64 bits; the estimate is the digit count or one too many.
	digits := (bits.Len64(v)*1233)>>12 + 1
	if v < powersOfTen[digits-1] {
		digits--
	}
	return 100 + 90*(digits-3) + int(v/powersOfTen[digits-2]) - 10
}

// bucketBounds is the lowest value of a bucket and its width. Below 10 the width is 0.1 (and 0 for the bucket of zero),
// which is where two significant digits put it; it shows in interpolated quantiles as it does in Envoy's.
func bucketBounds(index int) (lower, width float64) {
	switch {
	case index == 0:
		return 0, 0
	case index < 10:
		return float64(index), 0.1
	case index < 100:
		return float64(index), 1
	}
	unit := float64(powersOfTen[(index-100)/90+1])
	return float64((index-100)%90+10) * unit, unit
}
