package server

import (
	"context"
	"errors"
	"fmt"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/logging"
	"github.com/weftproxy/weft/resource"
)

// Run is the life of a process. It returns nil after an orderly end: the end of ctx, SIGTERM or SIGINT (which drain first), POST
// /quitquitquit, or init_only mode. A configuration with errors is an error after each problem was written to standard error.
// Whatever Run started has ended when it returns.
func Run(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if o.Mode == ModeValidate {
		return Validate(o)
	}
	logs, err := o.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // after the last line
	registry, err := extension.NewRegistry(o.Extensions)
	if err != nil {
		return err
	}
	first := o.load(registry.Support())
	if first.set == nil {
		first.write(o.Stderr, resource.Error)
		return first.err()
	}
	if err := o.setLogFormat(logs, first.set.Bootstrap); err != nil {
		return err
	}
	if o.OwnProcess {
		takeLimits(o, logs.Logger())
	}
	p, err := newProcess(o, logs, registry, first)
	if err != nil {
		return err
	}
	defer p.log.Info("exiting")
	defer p.close()
	return p.run(ctx, first)
}

// run starts what first describes and serves until told to end.
func (p *process) run(ctx context.Context, first *loaded) error {
	started, err := p.compile(first)
	if err != nil {
		first.write(p.o.Stderr, resource.Error)
		return err
	}
	p.logProblems(first)
	p.services.Go(func() { p.flush(p.ctx, first.set.Bootstrap.GetStatsFlushInterval().AsDuration()) })
	p.services.Go(func() { _ = p.secrets.Run(p.ctx) }) // ends with p.ctx, like those below
	p.services.Go(func() { p.runClient(p.ctx) })
	p.services.Go(func() { p.reportLoad(p.ctx) })
	p.services.Go(func() { p.promote(p.ctx) })
	p.services.Go(func() { p.layers.run(p.ctx) })
	if err := p.startAdmin(first.set.Bootstrap); err != nil {
		p.discard(started)
		return err
	}
	p.status.set(adminv3.ServerInfo_INITIALIZING)
	if err := p.initialize(ctx, started); errors.Is(err, errTold) {
		return nil
	} else if err != nil {
		return err
	}
	if p.o.Mode == ModeInitOnly {
		p.log.Info("all initialized; not serving in init_only mode")
		return nil
	}
	p.serves()
	p.loop(ctx)
	p.shutdown(ctx)
	return nil
}

// initialize puts the first generation into effect. It ends with errTold when the process is told to end meanwhile.
func (p *process) initialize(ctx context.Context, first *generation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, end := p.untilTold(ctx)
	err := p.apply(until, first)
	if err == nil {
		err = p.firstListeners(until, first)
	}
	if told := end(); told {
		return errTold
	}
	return err
}

// errTold is the cause with which initialization ends when the process is told to end.
var errTold = errors.New("told to end")

// untilTold is a context that ends with errTold when a signal or the admin page asks the process to end, or ctx does. end stops
// watching and reports whether that has happened.
func (p *process) untilTold(ctx context.Context) (until context.Context, end func() bool) {
	until, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, or when told
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
			case <-p.quit:
			case sig := <-p.o.Signals:
				if !ends(sig) {
					p.handle(sig)
					continue
				}
			}
			cancel(errTold)
			return
		}
	}()
	return until, func() bool {
		close(stop)
		<-done
		defer cancel(context.Canceled)
		return until.Err() != nil
	}
}

// serves says that the process serves.
func (p *process) serves() {
	p.status.set(adminv3.ServerInfo_LIVE)
	p.status.listener.started.Set(1)
	p.status.initTime.Record(p.sinceStart())
	p.log.Info("all dependencies initialized. starting workers")
	p.tidy()
	if p.o.Started != nil {
		p.o.Started(p.addresses())
	}
}

// logProblems logs what is not an error: warnings, and notes at a lower level.
func (p *process) logProblems(l *loaded) {
	for _, problem := range l.problems {
		switch problem.Severity {
		case resource.Warning:
			p.log.Warn(problem.String())
		case resource.Note:
			p.log.Debug(problem.String())
		case resource.Error:
			p.log.Error(problem.String())
		}
	}
}

// setLogFormat follows application_log_config, unless the command line has a format: both are an error, as in Envoy.
func (o Options) setLogFormat(logs *logging.Log, b *bootstrapv3.Bootstrap) error {
	f := b.GetApplicationLogConfig().GetLogFormat()
	if f == nil {
		return nil
	}
	if o.LogFormat != "" {
		return errors.New("only one of application_log_config.log_format and --log-format may be given")
	}
	format := f.GetTextFormat()
	if f.GetJsonFormat() != nil {
		format = "json"
	}
	if err := logs.SetFormat(format); err != nil {
		return fmt.Errorf("application_log_config: %w", err)
	}
	return nil
}
