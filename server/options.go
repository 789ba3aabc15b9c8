package server

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/logging"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/transport"
)

// Defaults of the command line, which are Envoy's.
const (
	DefaultDrainTime          = 600 * time.Second
	DefaultParentShutdownTime = 900 * time.Second
	DefaultFileFlushInterval  = 10 * time.Second
	DefaultFileFlushMinSizeKB = 64
)

// The modes of --mode.
const (
	ModeServe    = "serve"
	ModeValidate = "validate"
	ModeInitOnly = "init_only"
)

// The strategies of --drain-strategy.
const (
	DrainGradual   = "gradual"
	DrainImmediate = "immediate"
)

// Options are all that a process is started with: the command line, and what main brings along. The names are those of the
// flags. The zero value of a field is the flag's default.
type Options struct {
	ConfigPath               string
	ConfigYAML               string                 // merged over the file
	Bootstrap                *bootstrapv3.Bootstrap // instead of a file; then there is nothing to reload
	AllowUnknownStaticFields bool
	RejectUnknownDynamic     bool
	IgnoreUnknownDynamic     bool
	XDSCache                 string // the directory in which the last good resources of control planes are kept; "": none are

	Mode                  string
	Concurrency           int // 0: what the Go runtime chose, which honours affinity and the cgroup's CPU limit
	ServiceCluster        string
	ServiceNode           string
	ServiceZone           string
	LocalAddressIPVersion string // "v4" or "v6"
	AdminAddressPath      string // file to write the admin's address to
	StatsTags             []stats.Tag
	EnableCoreDump        bool
	DisableHotRestart     bool
	BaseID                uint32
	RestartEpoch          uint32
	DrainTime             time.Duration
	DrainNow              bool // --drain-time-s 0
	DrainStrategy         string
	ParentShutdownTime    time.Duration
	FileFlushInterval     time.Duration
	FileFlushMinSizeKB    int
	SkipDeprecatedLogs    bool
	LogLevel              string
	LogPath               string
	LogFormat             string
	LogFormatEscaped      bool
	ComponentLogLevel     string
	Version               string // "1234abc/v1.0.0/Clean/RELEASE/go1.26"
	HotRestartVersion     string
	Extensions            extension.Extensions
	Network               transport.Network // nil: the host's
	Stdout, Stderr        io.Writer         // nil: the process's
	Signals               <-chan os.Signal  // may be nil; the end of Run's context does the same as SIGTERM
	Started               func(Addresses)   // called once when all listeners accept; may be nil
	OwnProcess            bool              // may set GOMAXPROCS, the memory limit and the limit of core files
	initTimeout           time.Duration     // 0: 15 s; shorter in tests
	began                 time.Time         // when withDefaults was called
}

// Addresses are what a process that has started listens on.
type Addresses struct {
	Admin     string              // "" without an admin page
	Listeners map[string][]string // by listener name
}

// withDefaults fills in what is not set and checks what is. The error names the flag.
func (o Options) withDefaults() (Options, error) {
	o.Mode = either(o.Mode, ModeServe)
	o.DrainStrategy = either(o.DrainStrategy, DrainGradual)
	o.LocalAddressIPVersion = either(o.LocalAddressIPVersion, "v4")
	o.LogLevel = either(o.LogLevel, "info")
	o.Version = either(o.Version, "dev")
	o.HotRestartVersion = either(o.HotRestartVersion, "disabled")
	if o.DrainTime == 0 && !o.DrainNow {
		o.DrainTime = DefaultDrainTime
	}
	o.ParentShutdownTime = either(o.ParentShutdownTime, DefaultParentShutdownTime)
	o.FileFlushInterval = either(o.FileFlushInterval, DefaultFileFlushInterval)
	o.FileFlushMinSizeKB = either(o.FileFlushMinSizeKB, DefaultFileFlushMinSizeKB)
	o.initTimeout = either(o.initTimeout, 15*time.Second)
	o.began = time.Now()
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.LogFormatEscaped {
		o.LogFormat = strings.ReplaceAll(either(o.LogFormat, logging.DefaultFormat), "%v", "%_")
	}
	for _, e := range []struct {
		flag, value string
		want        []string
	}{
		{"mode", o.Mode, []string{ModeServe, ModeValidate, ModeInitOnly}},
		{"drain-strategy", o.DrainStrategy, []string{DrainGradual, DrainImmediate}},
		{"local-address-ip-version", o.LocalAddressIPVersion, []string{"v4", "v6"}},
	} {
		if !slices.Contains(e.want, e.value) {
			return o, fmt.Errorf("unknown --%s %q: want %s", e.flag, e.value, strings.Join(e.want, " or "))
		}
	}
	if _, err := logging.ParseLevel(o.LogLevel); err != nil {
		return o, fmt.Errorf("--log-level: %w", err)
	}
	if o.DrainTime < 0 || o.ParentShutdownTime < 0 || o.FileFlushInterval < 0 || o.Concurrency < 0 || o.FileFlushMinSizeKB < 0 {
		return o, fmt.Errorf("--drain-time-s, --parent-shutdown-time-s, --concurrency and --file-flush-* must not be negative")
	}
	return o, nil
}

// either is v, or def when v is zero.
func either[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// openLog opens the process's own log.
func (o Options) openLog() (*logging.Log, error) {
	components, err := logging.ParseComponents(o.ComponentLogLevel)
	if err != nil {
		return nil, fmt.Errorf("--component-log-level: %w", err)
	}
	return logging.New(logging.Options{
		Level: o.LogLevel, Components: components, Format: o.LogFormat, Path: o.LogPath, Fallback: o.Stderr,
	})
}
