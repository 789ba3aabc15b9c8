package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe"
)

const (
	defaultLimit = 1000
	maxLimit     = 100_000
)

// limit is the limit parameter. It answers itself if that is not a number above 0.
func (c *call) limit() (int, bool) {
	s := c.get("limit")
	if s == "" {
		return defaultLimit, true
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		c.text(http.StatusBadRequest, "limit: want a number above 0\n")
		return 0, false
	}
	return min(n, maxLimit), true
}

// A table is text in columns.
type table struct {
	b strings.Builder
	w *tabwriter.Writer
}

func newTable(columns ...string) *table {
	t := &table{}
	t.w = tabwriter.NewWriter(&t.b, 0, 0, 2, ' ', 0)
	t.row(columns...)
	return t
}

// row adds a line; what is empty shows as "-".
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cell == "" {
			cell = "-"
		}
		end := "\t"
		if i == len(cells)-1 {
			end = "\n"
		}
		_, _ = t.w.Write([]byte(clean(cell) + end)) // into a strings.Builder
	}
}

func (t *table) answer(c *call) {
	_ = t.w.Flush()
	c.text(http.StatusOK, t.b.String())
}

// exchangeView is an exchange under way as JSON.
type exchangeView struct {
	AgeMS    float64 `json:"age_ms"`
	Stage    string  `json:"stage"`
	Try      int     `json:"try"`
	Method   string  `json:"method"`
	Host     string  `json:"host"`
	Path     string  `json:"path"`
	Listener string  `json:"listener"`
	Remote   string  `json:"remote"`
	Conn     uint64  `json:"connection"`
	Route    string  `json:"route,omitempty"`
	Cluster  string  `json:"cluster,omitempty"`
	Upstream string  `json:"upstream,omitempty"`
	Place    string  `json:"place,omitempty"`
}

func (s *Server) exchanges(c *call) {
	limit, ok := c.limit()
	if !ok {
		return
	}
	if s.state.Live == nil {
		c.missing("the table of exchanges")
		return
	}
	rows := s.state.Live.Rows(limit)
	if c.get("format") == "json" {
		views := make([]exchangeView, 0, len(rows))
		for i := range rows {
			r := &rows[i]
			views = append(views, exchangeView{
				AgeMS: milliseconds(r.Age), Stage: r.Stage, Try: r.Try, Method: r.Method, Host: r.Host, Path: r.Path,
				Listener: r.Listener, Remote: r.Remote, Conn: r.Conn, Route: r.Route, Cluster: r.Cluster, Upstream: r.Upstream, Place: r.Place,
			})
		}
		c.json(map[string]any{"exchanges": views})
		return
	}
	t := newTable("AGE", "STAGE", "TRY", "METHOD", "HOST", "PATH", "ROUTE", "CLUSTER", "UPSTREAM", "LISTENER", "REMOTE", "CONN", "PLACE")
	for i := range rows {
		r := &rows[i]
		t.row(short(r.Age), r.Stage, strconv.Itoa(r.Try), r.Method, r.Host, clip(r.Path), r.Route, r.Cluster, r.Upstream,
			r.Listener, r.Remote, strconv.FormatUint(r.Conn, 10), r.Place)
	}
	t.answer(c)
}

// maxCell is how much of a path a table shows; JSON has all of it.
const maxCell = 100

func clip(s string) string {
	if len(s) <= maxCell {
		return s
	}
	return s[:maxCell] + "..."
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// short is a duration as people read it: to about four digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// failureView is a failed exchange as JSON.
type failureView struct {
	At         time.Time `json:"at"`
	Status     int       `json:"status"`
	Flags      string    `json:"flags"`
	Details    string    `json:"details"`
	Stage      string    `json:"stage"`
	Side       string    `json:"side"`
	Cause      string    `json:"cause,omitempty"`
	Method     string    `json:"method"`
	Host       string    `json:"host"`
	Path       string    `json:"path"`
	Listener   string    `json:"listener"`
	Route      string    `json:"route,omitempty"`
	Cluster    string    `json:"cluster,omitempty"`
	Upstream   string    `json:"upstream,omitempty"`
	Attempts   int       `json:"attempts"`
	DurationMS float64   `json:"duration_ms"`
	Remote     string    `json:"remote"`
	RequestID  string    `json:"request_id,omitempty"`
	Place      string    `json:"place,omitempty"`
}

func (s *Server) failures(c *call) {
	limit, ok := c.limit()
	if !ok {
		return
	}
	wanted, problem := failureFilter(c)
	if problem != "" {
		c.text(http.StatusBadRequest, problem)
		return
	}
	if s.state.Failures == nil {
		c.missing("the list of failures")
		return
	}
	var chosen []exchange.Failure
	for _, f := range s.state.Failures.List() {
		if len(chosen) < limit && wanted(&f) {
			chosen = append(chosen, f)
		}
	}
	if c.get("format") == "json" {
		views := make([]failureView, 0, len(chosen))
		for i := range chosen {
			views = append(views, viewFailure(&chosen[i]))
		}
		c.json(map[string]any{"failures": views})
		return
	}
	t := newTable("AT", "STATUS", "FLAGS", "DETAILS", "STAGE", "SIDE", "METHOD", "HOST", "PATH", "CLUSTER", "UPSTREAM", "TRIES", "TOOK",
		"ROUTE", "PLACE", "LISTENER", "REMOTE", "REQUEST-ID", "CAUSE")
	for i := range chosen {
		v := viewFailure(&chosen[i])
		t.row(v.At.UTC().Format("2006-01-02T15:04:05.000Z"), strconv.Itoa(v.Status), v.Flags, v.Details, v.Stage, v.Side, v.Method, v.Host,
			clip(v.Path), v.Cluster, v.Upstream, strconv.Itoa(v.Attempts), short(chosen[i].Duration), v.Route, v.Place, v.Listener,
			v.Remote, v.RequestID, v.Cause)
	}
	t.answer(c)
}

func viewFailure(f *exchange.Failure) failureView {
	remote := ""
	if f.Remote.IsValid() {
		remote = f.Remote.String()
	}
	return failureView{
		At: f.At, Status: f.Status, Flags: f.Flags.String(), Details: f.Details, Stage: f.Stage, Side: f.Side, Cause: f.Cause,
		Method: f.Method, Host: f.Host, Path: f.Path, Listener: f.Listener, Route: f.Route, Cluster: f.Cluster, Upstream: f.Upstream,
		Attempts: f.Attempts, DurationMS: milliseconds(f.Duration), Remote: remote, RequestID: f.RequestID, Place: f.Place,
	}
}

// failureFilter reads which failures to show; problem is set when it cannot.
func failureFilter(c *call) (wanted func(*exchange.Failure) bool, problem string) {
	flags := observe.Flag(0)
	if s := c.get("flag"); s != "" {
		if flags = observe.ParseFlag(strings.ToUpper(s)); flags == 0 {
			return nil, "flag: no such response flag\n"
		}
	}
	low, high := 0, 999
	if s := c.get("status"); s != "" {
		if len(s) == 3 && strings.HasSuffix(s, "xx") {
			s = s[:1] + "00"
			high = 99
		} else {
			high = 0
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 999 {
			return nil, "status: want a status such as 503, or a class such as 5xx\n"
		}
		low, high = n, n+high
	}
	cluster, anyCluster := c.get("cluster"), c.get("cluster") == ""
	return func(f *exchange.Failure) bool {
		return (flags == 0 || f.Flags&flags != 0) && f.Status >= low && f.Status <= high && (anyCluster || f.Cluster == cluster)
	}, ""
}

func (s *Server) explain(c *call) {
	if s.state.Explain == nil {
		c.missing("explain")
		return
	}
	url, method := c.get("url"), c.get("method")
	if url == "" {
		c.text(http.StatusBadRequest, "usage: /explain?url=<url>[&method=<method>][&header=<name>:<value>]...[&listener=<name>][&remote=<address>][&sni=<name>][&alpn=<protocol>,...][&format=json]\n")
		return
	}
	if method == "" {
		method = http.MethodGet
	}
	var headers [][2]string
	for _, p := range c.query {
		if p.name != "header" || p.value == "" {
			continue
		}
		name, value, ok := strings.Cut(p.value, ":")
		if !ok || name == "" {
			c.text(http.StatusBadRequest, "header: want name:value\n")
			return
		}
		headers = append(headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	q := Question{Method: method, URL: url, Headers: headers, Listener: c.get("listener"), Remote: c.get("remote"), SNI: c.get("sni")}
	if alpn := c.get("alpn"); alpn != "" {
		q.ALPN = strings.Split(alpn, ",")
	}
	answer, detail, err := s.state.Explain(c.r.Context(), q)
	if err != nil {
		c.text(http.StatusBadRequest, fmt.Sprintf("cannot explain: %s\n", clean(err.Error())))
		return
	}
	if c.get("format") == "json" {
		c.json(detail)
		return
	}
	parts := strings.Split(answer, "\n")
	for i := range parts {
		parts[i] = clean(parts[i])
	}
	c.text(http.StatusOK, strings.Join(parts, "\n"))
}
