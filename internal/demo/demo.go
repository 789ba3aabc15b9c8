// Package demo is the upstream of Weft's default configuration: a small HTTP server whose paths show what a proxy does.
package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Paths says what can be tried, one line each.
const Paths = `/                this text
/echo            the request as it arrived here, body included
/headers         its headers
/status/503      a response with that status
/delay/2         a response after that many seconds, 60 at most
/bytes/1000000   a response of that many bytes, 1 GiB at most
/sse             server-sent events, one a second
/ws              a WebSocket that echoes
`

const (
	maxDelay = 60 * time.Second
	maxBytes = 1 << 30
	maxBody  = 1 << 20 // of what /echo repeats
)

// A Server is the demo upstream on a listener. Create it with Start, end it with Close.
type Server struct {
	http     *http.Server
	listener net.Listener
	closing  chan struct{} // closed by Close: streams end
	served   chan struct{} // closed when serve has returned
	streams  streams
}

// Start serves on ln until Close. The log may be nil.
func Start(ln net.Listener, log *slog.Logger) *Server {
	s := &Server{listener: ln, closing: make(chan struct{}), served: make(chan struct{})}
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	if log != nil {
		s.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	}
	go func() { // ends when Close closes the listener
		defer close(s.served)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) && log != nil {
			log.Error("demo upstream ended", "error", err)
		}
	}()
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends the server and all its connections, and waits for their goroutines.
func (s *Server) Close() error {
	close(s.closing)
	err := s.http.Close()
	<-s.served
	s.streams.wait()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]http.HandlerFunc{
		"/{$}": root, "/echo": echo, "/headers": headers, "/status/{code}": status, "/delay/{seconds}": s.delay,
		"/bytes/{n}": sendBytes, "/sse": s.events, "/ws": s.websocket,
	} {
		mux.HandleFunc(pattern, s.streams.track(serve))
	}
	return mux
}

func root(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello from the demo upstream of Weft. This came through the proxy at %s.\n\nTry:\n\n%s", r.Host, Paths)
}

func headers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Host: %s\n", r.Host)
	_ = r.Header.Write(w) // the client is gone: nobody to tell
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Proto)
	headers(w, r)
	fmt.Fprintln(w)
	_, _ = io.Copy(w, http.MaxBytesReader(w, r.Body, maxBody)) // as above
}

func status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "want a status from 200 to 599", http.StatusBadRequest)
		return
	}
	w.Header().Set("content-type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprintf(w, "%d %s\n", code, http.StatusText(code))
}

func (s *Server) delay(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.ParseFloat(r.PathValue("seconds"), 64)
	if err != nil || !(seconds >= 0 && seconds <= maxDelay.Seconds()) {
		http.Error(w, "want seconds from 0 to 60", http.StatusBadRequest)
		return
	}
	if s.pause(r, time.Duration(seconds*float64(time.Second))) {
		fmt.Fprintf(w, "waited %gs\n", seconds)
	}
}

// pause waits; it reports false when the client or the server is gone before.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 || n > maxBytes {
		http.Error(w, "want a number of bytes from 0 to 1073741824", http.StatusBadRequest)
		return
	}
	w.Header().Set("content-type", "application/octet-stream")
	w.Header().Set("content-length", strconv.FormatInt(n, 10))
	chunk := []byte(strings.Repeat("0123456789abcdef", 2048))
	for n > 0 {
		wrote, err := w.Write(chunk[:min(n, int64(len(chunk)))])
		if err != nil {
			return
		}
		n -= int64(wrote)
	}
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/event-stream")
	w.Header().Set("cache-control", "no-cache")
	flusher := http.NewResponseController(w)
	stream := rand.Text()[:8]
	for i := 1; ; i++ {
		if _, err := fmt.Fprintf(w, "id: %s-%d\ndata: event %d\n\n", stream, i, i); err != nil || flusher.Flush() != nil {
			return
		}
		if !s.pause(r, time.Second) {
			return
		}
	}
}
