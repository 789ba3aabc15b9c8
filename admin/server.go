package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
)

// Bounds on what one client, or all of them, can hold.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 60 * time.Second
	writeTimeout   = 2 * time.Minute // for the whole response, profiles apart
	maxHeader      = 64 << 10
	maxConnections = 512
	closeGrace     = time.Second // for responses under way when Serve ends
)

// A Server answers the admin interface. Safe for concurrent use.
type Server struct {
	state    State
	commands []command // by path; immutable
	byPath   map[string]*command
	origin   *http.CrossOriginProtection
	metrics  *metrics
	grpc     *grpc.Server
	log      *slog.Logger
}

// New returns a server of the given state.
func New(state State) *Server {
	s := &Server{
		state: state, commands: commands(), byPath: map[string]*command{},
		origin: http.NewCrossOriginProtection(), metrics: newMetrics(state.Stats), log: state.Log,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.grpc = newGRPC(s)
	for i := range s.commands {
		s.byPath[s.commands[i].path] = &s.commands[i]
	}
	return s
}

// Handler returns the interface as an HTTP handler.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := s.begin(w, r)
		defer watched.end()
		h := watched.Header()
		h.Set("Cache-Control", "no-cache, max-age=0")
		h.Set("X-Content-Type-Options", "nosniff")
		if isGRPC(r) {
			s.serveGRPC(watched, r)
			return
		}
		s.serve(watched, r)
	})
}

// isGRPC reports whether a request calls a gRPC service.
func isGRPC(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return r.ProtoMajor == 2 && (kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+"))
}

// serveGRPC answers a gRPC call. It ends with the request's context, which Serve ends.
func (s *Server) serveGRPC(w http.ResponseWriter, r *http.Request) {
	if s.state.Allow != nil && !s.state.Allow(r.URL.Path) {
		http.Error(w, "access to this path is not allowed", http.StatusForbidden)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a stream may last
	s.grpc.ServeHTTP(w, r)
}

// Serve answers connections of l, HTTP/1.1 and cleartext HTTP/2, until ctx ends; then it gives responses under way a second and
// returns nil. It closes l. An error means that l failed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnState: s.metrics.connState, Protocols: new(http.Protocols),
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer s.grpc.Stop() // when there are no more calls
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	failed := make(chan error, 1)
	// Ends when the server is shut down or closed; Serve waits for it below.
	go func() { failed <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-failed:
		_ = server.Close()
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}
