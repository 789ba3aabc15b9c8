package stats

type seriesKey struct {
	kind kind
	name string
}

// A series is one counter, gauge, histogram or text that belongs to no group.
type series struct {
	item
	counter   Counter
	gauge     Gauge
	histogram Histogram
	text      Text
	past      history // guarded by the store's flushMu
}

// number is the value of a counter or gauge, and whether it was ever written.
func (s *series) number() (n uint64, used bool) {
	if s.kind == gauge {
		return uint64(s.gauge.Value()), s.gauge.used.Load()
	}
	n = s.counter.Value()
	return n, n != 0
}

// reset sets a counter to zero and empties a histogram. Callers hold the store's flushMu.
func (s *series) reset() {
	switch s.kind {
	case counter:
		s.counter.n.Store(0)
	case histogram:
		s.histogram.reset()
		s.past = history{}
	}
}
