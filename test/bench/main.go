//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are what the command line asks for.
type options struct {
	proxies   string
	skipCaddy bool
	run       string
	duration  time.Duration
	rounds    int
	settle    time.Duration
	idle      int
	idleH2    int
	idleTLS   int
	download  float64 // GiB a run
	stream    float64 // GiB a run
	services  int
	changes   int
	sites     int
	pin       bool
	install   bool
	list      bool
	weft      string
	cache     string
	profile   string
	json      string
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "origin":
			exit(runOrigin(os.Args[2:]))
		case "attack":
			exit(runAttack(os.Args[2:], os.Stdout))
		case "pace":
			exit(runPace(os.Args[2:], os.Stdout))
		case "handshakes":
			exit(runHandshakes(os.Args[2:], os.Stdout))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func exit(err error) {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the whole program: parse, prepare, measure, report. It returns an error
// when a proxy failed requests or could not be measured.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	scenarios, err := selectScenarios(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, s := range scenarios {
			fmt.Fprintf(stdout, "%-24s %s\n", s.name, s.title)
		}
		return nil
	}
	b, err := prepare(ctx, o, scenarios, stderr)
	if err != nil {
		return err
	}
	defer b.close()

	report := newReport(ctx, b)
	writeHead(stdout, report.Machine)
	for _, s := range scenarios {
		result, err := b.measure(ctx, s)
		if err != nil {
			return err
		}
		report.Scenarios = append(report.Scenarios, result)
		writeTable(stdout, s, result)
	}
	if o.json != "" {
		if err := report.save(o.json); err != nil {
			return err
		}
	}
	if o.profile != "" {
		for _, s := range scenarios {
			if err := b.captureProfile(ctx, s, o.profile); err != nil {
				return fmt.Errorf("profile: %w", err)
			}
		}
	}
	return report.failure()
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.proxies, "proxies", "nginx,haproxy,weft,caddy", "comma-separated `list` of proxies to measure")
	f.BoolVar(&o.skipCaddy, "skip-caddy", false, "leave Caddy out: neither build nor measure it")
	f.StringVar(&o.run, "run", "", "measure only scenarios whose name matches this `regexp` (default: all but the attacks)")
	f.DurationVar(&o.duration, "d", 5*time.Second, "length of one HTTP measurement, rounded up to whole seconds")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; within a round the proxies take turns")
	f.DurationVar(&o.settle, "settle", 15*time.Second, "time idle connections rest before their memory is read")
	f.IntVar(&o.idle, "idle", 5000, "idle connections to hold open")
	f.IntVar(&o.idleH2, "idle-h2", 10000, "idle HTTP/2 connections to hold open")
	f.IntVar(&o.idleTLS, "idle-tls", 10000, "idle TLS connections to hold open")
	f.Float64Var(&o.download, "download", 1, "`GiB` one HTTP/2 stream moves")
	f.Float64Var(&o.stream, "stream", 4, "`GiB` one TCP stream measurement moves")
	f.IntVar(&o.services, "services", 10000, "routes, and clusters, of the start-up scenario and from a control plane")
	f.IntVar(&o.changes, "changes", 200, "routes that a control plane changes one after the other")
	f.IntVar(&o.sites, "sites", 10000, "certificates of the start-up scenario of TLS")
	f.BoolVar(&o.pin, "pin", runtime.NumCPU() > 1, "pin the proxy to the first CPU, load and upstream to the others")
	f.BoolVar(&o.install, "install", true, "install missing tools (apt-get, as root) and build Caddy")
	f.BoolVar(&o.list, "list", false, "list the scenarios and stop")
	f.StringVar(&o.weft, "weft", "", "measure this weft `binary` instead of building ./cmd/weft")
	f.StringVar(&o.cache, "cache", "", "`directory` for the Caddy binary (default: the user's cache directory)")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of weft under each chosen load into this `directory`")
	f.StringVar(&o.json, "json", "", "also write all samples and summaries to this `file`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.check()
}

func (o *options) check() error {
	switch {
	case o.duration < 100*time.Millisecond:
		return fmt.Errorf("-d %v: at least 100ms", o.duration)
	case o.rounds < 1:
		return fmt.Errorf("-rounds %d: at least 1", o.rounds)
	case o.idle < 1 || o.idleH2 < 1 || o.idleTLS < 1 || o.services < 1 || o.changes < 1 || o.sites < 1 || o.stream <= 0 || o.download <= 0:
		return errors.New("-idle, -idle-h2, -idle-tls, -services, -changes, -sites, -stream and -download must be positive")
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			dir = os.TempDir()
		}
		o.cache = filepath.Join(dir, "weft-bench")
	}
	return nil
}

func selectScenarios(o *options) ([]scenario, error) {
	want, err := regexp.Compile(o.run)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []scenario
	var names []string
	for _, s := range scenarios(o) {
		names = append(names, s.name)
		if want.MatchString(s.name) && !(s.asked && o.run == "" && !o.list) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q matches none of %s", o.run, strings.Join(names, ", "))
	}
	return chosen, nil
}
