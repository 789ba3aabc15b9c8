package stats

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"strconv"
)

// WriteJSON writes the series as Envoy's /stats?format=json does: one object whose "stats" array has an object for each
// text, counter and gauge and, if any histogram is shown, one object with all histograms at its end. It streams and holds no
// lock while it writes. The error is w's, or that of an unknown HistogramBuckets.
func (s *Store) WriteJSON(w io.Writer, q Query) error {
	mode, err := parseMode(q.HistogramBuckets)
	if err != nil {
		return err
	}
	j := jsonWriter{out: bufio.NewWriterSize(w, writeBuffer), mode: mode}
	j.buf = append(j.buf, `{"stats":[`...)
	s.eachText(&q, func(name []byte, value string) bool {
		j.stat(name)
		j.buf = append(appendJSONString(j.buf, value), '}')
		return j.write()
	})
	s.eachNumber(&q, func(name []byte, n uint64) bool {
		j.stat(name)
		j.buf = append(strconv.AppendUint(j.buf, n, 10), '}')
		return j.write()
	})
	s.eachHistogram(&q, func(name []byte, h *reading) bool {
		j.histogram(name, h)
		return j.write()
	})
	j.end()
	return j.out.Flush()
}

// jsonWriter is the state of one WriteJSON.
type jsonWriter struct {
	out  *bufio.Writer
	mode histogramMode
	buf  []byte // not yet given to out

	stats      int // entries of the array of stats so far
	histograms int // entries of the array of histograms so far
}

// write gives buf to out and reports whether to go on.
func (j *jsonWriter) write() bool {
	_, err := j.out.Write(j.buf)
	j.buf = j.buf[:0]
	return err == nil
}

// stat begins the entry of a text, counter or gauge, up to its value.
func (j *jsonWriter) stat(name []byte) {
	if j.stats++; j.stats > 1 {
		j.buf = append(j.buf, ',')
	}
	j.buf = appendJSONString(append(j.buf, `{"name":`...), name)
	j.buf = append(j.buf, `,"value":`...)
}

// histogram writes the entry of a histogram, and before the first the head of the object that holds them.
func (j *jsonWriter) histogram(name []byte, h *reading) {
	if j.histograms++; j.histograms > 1 {
		j.buf = append(j.buf, ',')
	} else {
		j.head()
	}
	j.buf = appendJSONString(append(j.buf, `{"name":`...), name)
	switch j.mode {
	case summary:
		j.buf = h.appendJSONQuantiles(append(j.buf, `,"values":`...))
	case cumulative, disjoint:
		j.buf = h.appendJSONCounts(append(j.buf, `,"buckets":`...), j.mode)
	case detailed:
		j.buf = appendJSONBuckets(append(j.buf, `,"totals":`...), h.total.buckets)
		j.buf = appendJSONBuckets(append(j.buf, `,"intervals":`...), h.interval.buckets)
		j.buf = h.appendJSONQuantiles(append(j.buf, `,"percentiles":`...))
	}
	j.buf = append(j.buf, '}')
}

func (j *jsonWriter) head() {
	if j.stats > 0 {
		j.buf = append(j.buf, ',')
	}
	j.buf = append(j.buf, `{"histograms":`...)
	switch j.mode {
	case summary:
		j.buf = append(appendPercentiles(append(j.buf, `{"supported_quantiles":`...)), `,"computed_quantiles":[`...)
	case cumulative, disjoint:
		j.buf = append(j.buf, '[')
	case detailed:
		j.buf = append(appendPercentiles(append(j.buf, `{"supported_percentiles":`...)), `,"details":[`...)
	}
}

// end closes what is open.
func (j *jsonWriter) end() {
	if j.histograms > 0 {
		j.buf = append(j.buf, ']')
		if j.mode == summary || j.mode == detailed {
			j.buf = append(j.buf, '}')
		}
		j.buf = append(j.buf, '}')
	}
	j.buf = append(j.buf, "]}"...)
	j.write()
}

// appendPercentiles appends the quantiles' names, as an array of numbers.
func appendPercentiles(b []byte) []byte {
	for i, q := range quantiles {
		b = append(b, "[,"[min(i, 1)])
		b = strconv.AppendFloat(b, 100*q, 'g', 6, 64)
	}
	return append(b, ']')
}

func (r *reading) appendJSONQuantiles(b []byte) []byte {
	interval, total := r.interval.quantiles(), r.total.quantiles()
	for i := range quantiles {
		b = append(b, "[,"[min(i, 1)])
		b = appendJSONFloat(append(b, `{"cumulative":`...), total[i])
		b = append(appendJSONFloat(append(b, `,"interval":`...), interval[i]), '}')
	}
	return append(b, ']')
}

func (r *reading) appendJSONCounts(b []byte, mode histogramMode) []byte {
	interval, total := r.counts(mode)
	b = append(b, '[')
	for i, bound := range r.bounds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONFloat(append(b, `{"upper_bound":`...), bound)
		b = strconv.AppendUint(append(b, `,"interval":`...), interval[i], 10)
		b = append(strconv.AppendUint(append(b, `,"cumulative":`...), total[i], 10), '}')
	}
	return append(b, ']')
}

func appendJSONBuckets(b []byte, buckets []bucket) []byte {
	b = append(b, '[')
	for i, one := range buckets {
		if i > 0 {
			b = append(b, ',')
		}
		lower, width := bucketBounds(int(one.index))
		b = appendJSONFloat(append(b, `{"lower_bound":`...), lower)
		b = appendJSONFloat(append(b, `,"width":`...), width)
		b = append(strconv.AppendUint(append(b, `,"count":`...), one.count, 10), '}')
	}
	return append(b, ']')
}

// appendJSONFloat appends f, null if it is not a number.
func appendJSONFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) {
		return append(b, "null"...)
	}
	return appendFloat(b, f)
}

// appendJSONString appends s in quotes.
func appendJSONString[S string | []byte](b []byte, s S) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(s))
			if err != nil {
				return append(b, `""`...) // cannot be: a string always has a form
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
