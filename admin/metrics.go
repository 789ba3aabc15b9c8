package admin

import (
	"net"
	"net/http"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
)

// metrics are http.admin.*, as a connection manager with the stat prefix "admin" would have them.
type metrics struct {
	CxTotal  stats.Counter   `stat:"downstream_cx_total"`
	CxActive stats.Gauge     `stat:"downstream_cx_active"`
	RqTotal  stats.Counter   `stat:"downstream_rq_total"`
	RqActive stats.Gauge     `stat:"downstream_rq_active"`
	RqDone   stats.Counter   `stat:"downstream_rq_completed"`
	Rq1xx    stats.Counter   `stat:"downstream_rq_1xx"`
	Rq2xx    stats.Counter   `stat:"downstream_rq_2xx"`
	Rq3xx    stats.Counter   `stat:"downstream_rq_3xx"`
	Rq4xx    stats.Counter   `stat:"downstream_rq_4xx"`
	Rq5xx    stats.Counter   `stat:"downstream_rq_5xx"`
	RqTime   stats.Histogram `stat:"downstream_rq_time" unit:"ms"`
}

func newMetrics(store *stats.Store) *metrics {
	tag := stats.Tag{Name: "envoy.http_conn_manager_prefix", Value: "admin"}
	return stats.NewGroup[metrics](store.Scope("http.admin", tag)).Lane(0)
}

func (m *metrics) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		m.CxTotal.Inc()
		m.CxActive.Inc()
	case http.StateClosed, http.StateHijacked:
		m.CxActive.Dec()
	}
}

func (m *metrics) done(status int, took time.Duration) {
	m.RqActive.Dec()
	m.RqDone.Inc()
	m.RqTime.Record(uint64(took.Milliseconds()))
	if i := status/100 - 1; i >= 0 && i < 5 {
		[...]*stats.Counter{&m.Rq1xx, &m.Rq2xx, &m.Rq3xx, &m.Rq4xx, &m.Rq5xx}[i].Inc()
	}
}

// A watched response counts itself.
type watched struct {
	http.ResponseWriter
	server *Server
	r      *http.Request
	began  time.Time
	start  int64
	status int
	bytes  uint64
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *watched {
	s.metrics.RqTotal.Inc()
	s.metrics.RqActive.Inc()
	now := time.Now()
	_ = http.NewResponseController(w).SetWriteDeadline(now.Add(writeTimeout)) // not every writer in tests has deadlines
	return &watched{ResponseWriter: w, server: s, r: r, began: now, start: scope.Now()}
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what was written.
func (w *watched) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() } // the peer is gone: nobody to tell

// WriteHeader notes the status.
func (w *watched) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts the body.
func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += uint64(n)
	return n, err
}

// end counts the request and logs it.
func (w *watched) end() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.server.metrics.done(w.status, time.Since(w.began))
	if w.server.state.AccessLog != nil {
		w.server.state.AccessLog(w.entry())
	}
}

// entry is the request as the access log sees requests.
func (w *watched) entry() *observe.Entry {
	now := scope.Now()
	req := &message.Request{Method: w.r.Method, Scheme: "http", Authority: w.r.Host, Path: w.r.URL.RequestURI(), Body: message.NoBody}
	for name, values := range w.r.Header {
		for _, v := range values {
			req.Header.Add(name, v)
		}
	}
	resp := &message.Response{Status: w.status, Body: message.NoBody}
	for name, values := range w.Header() {
		for _, v := range values {
			resp.Header.Add(name, v)
		}
	}
	info := &conn.Info{Began: w.began, Network: "tcp"}
	if remote, err := addrPort(w.r.RemoteAddr); err == nil {
		info.Remote, info.DirectRemote = remote, remote
	}
	if local, ok := w.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		info.Local = conn.AddrPort(local)
		info.DirectLocal = info.Local
	}
	return &observe.Entry{
		Request: req, Response: resp, Conn: info, Type: observe.DownstreamEnd,
		Record: &observe.Record{
			Began: w.began, Start: w.start, RequestDone: w.start, FirstSent: now, Done: now,
			Protocol: w.r.Proto, Status: w.status, Details: "admin_filter_response", BytesOut: w.bytes,
		},
	}
}
