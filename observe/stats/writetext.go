package stats

import (
	"bufio"
	"io"
	"strconv"
)

// writeBuffer is how much a writer gathers before it writes on.
const writeBuffer = 64 << 10

// WriteText writes the series as Envoy's /stats does: a line each, texts first, then counters and gauges, then histograms,
// sorted by name. It streams and holds no lock while it writes. The error is w's, or that of an unknown HistogramBuckets.
func (s *Store) WriteText(w io.Writer, q Query) error {
	mode, err := parseMode(q.HistogramBuckets)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, writeBuffer)
	var line []byte
	s.eachText(&q, func(name []byte, value string) bool {
		line = append(append(append(append(line[:0], name...), `: "`...), value...), "\"\n"...)
		_, err := out.Write(line)
		return err == nil
	})
	s.eachNumber(&q, func(name []byte, n uint64) bool {
		line = append(append(line[:0], name...), ": "...)
		line = append(strconv.AppendUint(line, n, 10), '\n')
		_, err := out.Write(line)
		return err == nil
	})
	s.eachHistogram(&q, func(name []byte, h *reading) bool {
		line = append(append(line[:0], name...), ':')
		line = append(h.appendText(line, mode), '\n')
		_, err := out.Write(line)
		return err == nil
	})
	return out.Flush()
}

// eachText calls f with the texts the query chooses.
func (s *Store) eachText(q *Query, f func(name []byte, value string) bool) {
	if !q.wants(text) {
		return
	}
	s.walk(q, []kind{text}, func(name []byte, refs []ref) bool {
		t := &refs[0].item.single.text
		return !q.visible(refs, t.used()) || f(name, t.Value())
	})
}

// eachNumber calls f with the counters and gauges the query chooses.
func (s *Store) eachNumber(q *Query, f func(name []byte, n uint64) bool) {
	if !q.wants(counter) && !q.wants(gauge) {
		return
	}
	s.walk(q, []kind{counter, gauge}, func(name []byte, refs []ref) bool {
		n, used := number(refs)
		return !q.visible(refs, used) || f(name, n)
	})
}

// eachHistogram calls f with the histograms the query chooses. The reading is valid during the call.
func (s *Store) eachHistogram(q *Query, f func(name []byte, h *reading) bool) {
	if !q.wants(histogram) {
		return
	}
	r := reading{store: s}
	s.walk(q, []kind{histogram}, func(name []byte, refs []ref) bool {
		r.read(name, refs)
		return !q.visible(refs, r.total.count != 0) || f(name, &r)
	})
}
