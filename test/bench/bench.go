//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A bench is a prepared run: tools found, origin serving, CPUs divided.
type bench struct {
	options      *options
	proxies      []proxy
	tools        tools
	self         string // this program
	dir          string // scratch, removed at the end
	progress     io.Writer
	proxyCPUs    cpuSet
	loadCPUs     cpuSet
	ports        ports
	origin       *child
	origins      map[service]string
	originStream string
	everywhere   bool      // the origin's HTTP/1 listens on all addresses
	certs        *tlsFiles // nil where no scenario needs them
	descriptors  uint64    // how many this process and its children may open
}

// prepare finds or installs the tools and starts the origin. The caller closes the bench.
func prepare(ctx context.Context, o *options, chosen []scenario, progress io.Writer) (_ *bench, err error) {
	b := &bench{options: o, progress: progress}
	if b.proxies, err = selectProxies(o.proxies, o.skipCaddy); err != nil {
		return nil, err
	}
	b.proxies = slices.DeleteFunc(b.proxies, func(p proxy) bool {
		return !slices.ContainsFunc(chosen, func(s scenario) bool { return p.does(s.kind) })
	})
	if b.dir, err = os.MkdirTemp("", "weft-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.tools, err = b.findTools(ctx, chosen); err != nil {
		return nil, err
	}
	if b.descriptors, err = raiseDescriptors(); err != nil {
		return nil, err
	}
	if o.pin {
		if b.proxyCPUs, b.loadCPUs, err = splitCPUs(); err != nil {
			return nil, err
		}
		if err = b.loadCPUs.bindSelf(); err != nil {
			return nil, err
		}
	}
	if b.certs, err = b.certificates(chosen); err != nil {
		return nil, err
	}
	b.everywhere = slices.ContainsFunc(chosen, func(s scenario) bool { return s.fleet != nil })
	return b, b.startOrigin(ctx)
}

// raiseDescriptors lifts the limit of open files as far as the system allows.
func raiseDescriptors() (uint64, error) {
	const want = 65536
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	if l.Max < want && os.Geteuid() == 0 {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: want, Max: want}) == nil {
			return want, nil
		}
	}
	l.Cur = l.Max
	return l.Cur, unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}

func (b *bench) startOrigin(ctx context.Context) error {
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	addrs, err := b.ports.free(1 + len(services()))
	if err != nil {
		return err
	}
	b.originStream, b.origins = addrs[0], map[service]string{}
	argv := []string{b.self, "origin", "-stream", addrs[0]}
	for i, s := range services() {
		b.origins[s] = addrs[i+1]
		argv = append(argv, "-"+string(s), addrs[i+1])
		if s == serviceHTTP1 && b.everywhere {
			argv[len(argv)-1] = strings.Replace(addrs[i+1], "127.0.0.1", "0.0.0.0", 1)
		}
	}
	b.origin, err = spawn(command{name: "origin", argv: argv, cpus: b.loadCPUs})
	if err != nil {
		return err
	}
	return b.origin.ready(ctx, 10*time.Second, func() error { return dialAsk(b.origins[serviceHTTP1], "/100", askLimit) })
}

// close ends the origin and removes the scratch directory.
func (b *bench) close() {
	if b.origin != nil {
		b.origin.stop()
	}
	_ = os.RemoveAll(b.dir)
}

// measure runs one scenario: in every round each proxy is started afresh, measured
// and stopped. A proxy that fails to run leaves the scenario; only the end of ctx
// is an error.
func (b *bench) measure(ctx context.Context, s scenario) (*result, error) {
	res := &result{Name: s.name, Title: s.title}
	for _, p := range b.proxies {
		if p.does(s.kind) {
			res.Rows = append(res.Rows, &row{Proxy: p.name, proxy: p})
		}
	}
	for round := range b.options.rounds {
		for _, r := range res.Rows {
			if r.Error != "" || r.Skipped != "" {
				continue
			}
			fmt.Fprintf(b.progress, "%s: round %d of %d: %s\n", s.name, round+1, b.options.rounds, r.Proxy)
			sample, err := b.once(ctx, s, &r.proxy)
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case errors.Is(err, errNoStream):
				r.Skipped = err.Error()
			case err != nil:
				r.Error = err.Error()
				fmt.Fprintf(b.progress, "%s: %s: %v\n", s.name, r.Proxy, err)
			default:
				r.Samples = append(r.Samples, sample)
			}
		}
	}
	res.summarize(s)
	return res, nil
}

// once is one proxy's turn.
func (b *bench) once(ctx context.Context, s scenario, p *proxy) (sample, error) {
	if s.kind == kindStream && p.tool == "nginx" && !b.tools.nginxStream {
		return sample{}, errNoStream
	}
	r, err := b.start(ctx, p, s)
	if err != nil {
		return sample{}, err
	}
	defer r.stop()
	out, err := s.sample(ctx, b, r)
	if err != nil {
		return sample{}, err
	}
	select {
	case <-r.done:
		return sample{}, fmt.Errorf("%s ended during the measurement: %w: %s", p.name, errOr(r.err, "exit status 0"), r.log)
	default:
		return out, nil
	}
}
