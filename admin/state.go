package admin

import (
	"context"
	"log/slog"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// State is what a Server shows and does. Stats is needed; whatever else is nil is missing: its endpoint answers 501, or shows
// nothing where Envoy would show an empty list. Functions are called for each request, by many goroutines at once, and what they
// return is read only.
type State struct {
	Stats        *stats.Store
	FlushOnAdmin bool // Bootstrap.stats_flush_on_admin: asking for stats ends the histograms' interval

	Info       Info
	Ready      func() adminv3.ServerInfo_State // nil: LIVE
	Clusters   func() []Cluster                // in the order to show
	Listeners  func() []Listener               // in the order to show
	Dump       func() Dump
	Streams    func() []Stream  // to control planes and files, for /xds
	Unready    func() []Unready // for /init_dump
	Certs      func() *adminv3.Certificates
	Live       *exchange.Live
	Failures   *exchange.Failures
	Layers     func() []RuntimeLayer // lowest first: later layers win
	SetRuntime func(overrides map[string]string) error
	Loggers    func() []Logger // in the order to show
	SetLevel   func(logger, level string) error

	// Explain tells what would become of a request, as text and as something to marshal as JSON.
	Explain func(ctx context.Context, q Question) (text string, detail any, err error)
	// Reload reads the configuration again. Problems with an error, or an error, mean that nothing has changed.
	Reload func(ctx context.Context) ([]resource.Problem, error)
	// Drain starts draining listeners and returns. graceful: keep accepting for the drain period first; inboundOnly: only
	// listeners with traffic_direction INBOUND; skipExit: leave them open after the period.
	Drain      func(graceful, inboundOnly, skipExit bool)
	FailHealth func(failed bool) // /healthcheck/fail and ok
	Quit       func()            // starts the shutdown and returns
	ReopenLogs func()

	Allow     func(path string) bool // Admin.allow_paths; nil allows all
	AccessLog func(*observe.Entry)   // one per request, when it is done; the entry is not used after the call. nil: none
	Log       *slog.Logger           // nil: slog.Default
}

// Info is what does not change while the process runs.
type Info struct {
	Version           string // revision/version/state/build/ssl, as Envoy's
	HotRestartVersion string // "disabled" where there is no hot restart
	Started           time.Time
	FirstStarted      time.Time                   // of the first epoch; zero: Started
	Options           *adminv3.CommandLineOptions // shown as it is: a config_yaml with secrets in it had better be left out
	Node              *corev3.Node
}

// A Listener is one line (or more) of /listeners.
type Listener struct {
	Name      string
	Addresses []string // ip:port as bound, or the path of a unix socket; the main one first
}

// A Logger is a component that logs at a level of its own.
type Logger struct{ Name, Level string }

// A RuntimeLayer is one layer of Envoy's layered runtime.
type RuntimeLayer struct {
	Name   string
	Values map[string]string
}

// Unready is something that waits before it can serve, and what for.
type Unready struct {
	Name    string // "init manager Listener-local-init-manager ingress"
	Targets []string
}

// A Question is a request of which /explain says where it would go.
type Question struct {
	Method, URL           string // the URL as the user gave it
	Headers               [][2]string
	Listener, Remote, SNI string // "" where it was not given
	ALPN                  []string
}
