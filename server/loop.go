package server

import (
	"context"
	"os"
	"syscall"
	"time"
)

// ends reports whether a signal asks the process to end.
func ends(sig os.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGINT }

// loop serves until the process is told to end.
func (p *process) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.quit:
			return
		case sig := <-p.o.Signals:
			if ends(sig) {
				p.log.Info("caught signal", "signal", sig)
				return
			}
			p.handle(sig)
		}
	}
}

// handle does what the signals that do not end the process ask for.
func (p *process) handle(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		p.tasks.Go(func() { // ends with the reload; the loop goes on, so that signals are heard meanwhile
			_, _ = p.reload(p.ctx) // which logs and counts what happens
		})
	case syscall.SIGUSR1:
		p.reopenLogs()
	}
}

// reopenLogs opens the process's log and all access logs anew.
func (p *process) reopenLogs() {
	if err := p.logs.Reopen(); err != nil {
		p.log.Error("cannot reopen the log", "error", err)
	}
	if err := p.env.Logs.Reopen(); err != nil {
		p.log.Error("cannot reopen access logs", "error", err)
	}
	p.log.Info("reopened logs")
}

// flush ends the statistics' intervals and refreshes gauges, until ctx ends.
func (p *process) flush(ctx context.Context, interval time.Duration) {
	if interval <= 0 {
		interval = 5 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		p.refresh()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.stats.Flush()
		}
	}
}
