package admin

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"

	"github.com/weftproxy/weft/observe/stats"
)

func (s *Server) stats(c *call) {
	q, ok := statsQuery(c)
	if !ok {
		return
	}
	format := c.get("format")
	switch format {
	case "prometheus":
		s.prometheus(c)
		return
	case "", "text", "html", "active-html", "json":
	default:
		c.text(http.StatusBadRequest, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")
		return
	}
	if !slices.Contains([]string{"", "none", "cumulative", "disjoint", "detailed", "summary"}, q.HistogramBuckets) {
		c.text(http.StatusBadRequest, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n")
		return
	}
	if s.state.FlushOnAdmin {
		s.state.Stats.Flush()
	}
	if format != "json" {
		c.head(http.StatusOK, "text/plain; charset=UTF-8")
		_ = s.state.Stats.WriteText(c.w, q) // the query was checked: an error is the peer's
		return
	}
	if c.has("pretty") {
		var b bytes.Buffer
		err := s.state.Stats.WriteJSON(&b, q)
		c.indented(b.Bytes(), err)
		return
	}
	c.head(http.StatusOK, "application/json")
	_ = s.state.Stats.WriteJSON(c.w, q)
}

func (s *Server) prometheus(c *call) {
	q, ok := statsQuery(c)
	if !ok {
		return
	}
	if !slices.Contains([]string{"", "cumulative", "summary"}, q.HistogramBuckets) {
		c.text(http.StatusBadRequest, "usage: /stats/prometheus?histogram_buckets=(cumulative|summary)\n")
		return
	}
	if s.state.FlushOnAdmin {
		s.state.Stats.Flush()
	}
	c.head(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8")
	_ = s.state.Stats.WritePrometheus(c.w, q)
}

// statsQuery reads the parameters that all formats share. It answers itself if they are wrong.
func statsQuery(c *call) (stats.Query, bool) {
	q := stats.Query{
		UsedOnly: c.has("usedonly"), TextReadouts: c.has("text_readouts"), HistogramBuckets: c.get("histogram_buckets"),
	}
	var ok bool
	if q.Filter, ok = filter(c); !ok {
		return q, false
	}
	if t := c.get("type"); t != "" {
		kind, err := stats.ParseType(t)
		if err != nil {
			c.text(http.StatusBadRequest, "invalid &type= param")
			return q, false
		}
		q.Type = kind
	}
	return q, true
}

// filter is the filter parameter, nil if there is none. It answers itself if it is not a regular expression.
func filter(c *call) (*regexp.Regexp, bool) {
	expr := c.get("filter")
	if expr == "" {
		return nil, true
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		c.text(http.StatusBadRequest, "Invalid re2 regex")
		return nil, false
	}
	return re, true
}

func (s *Server) resetCounters(c *call) {
	s.state.Stats.ResetCounters()
	c.ok()
}
