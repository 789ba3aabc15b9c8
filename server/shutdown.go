package server

import (
	"context"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

// shutdown is the orderly end: no new connections, idle ones closed, the others told with `Connection: close` that their next
// response is the last, all given the drain time to finish. A second signal that asks for the end cuts it short.
func (p *process) shutdown(ctx context.Context) {
	p.stop()
	p.status.set(adminv3.ServerInfo_DRAINING)
	p.log.Info("shutting down: draining connections", "drain_time", p.o.DrainTime)
	p.mu.Lock() // a reload under way has been told to stop
	defer p.mu.Unlock()
	p.drain.Begin(0)
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.o.DrainTime)
	defer cancel()
	impatient := p.untilImpatient(cancel)
	began := time.Now()
	left := p.drainListeners(drained)
	impatient()
	if left > 0 {
		p.log.Warn("connections did not end in time and are cut off", "connections", left, "after", time.Since(began))
		return
	}
	p.log.Info("all connections are gone", "after", time.Since(began))
}

// untilImpatient calls cancel when a signal asks for the end once more. The returned function ends that and waits.
func (p *process) untilImpatient(cancel func()) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, or the signal
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case sig := <-p.o.Signals:
				if ends(sig) {
					p.log.Warn("caught another signal: not waiting for connections", "signal", sig)
					cancel()
					return
				}
				p.handle(sig)
			}
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}
