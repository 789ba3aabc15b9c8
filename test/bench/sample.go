//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// streamConnections is over how many connections a stream measurement is spread.
const streamConnections = 4

// sampleLoad runs l against r: a second to warm up, then the measurement. CPU is
// counted from before the generator starts until after it ended, requests are those
// it saw completed.
func (b *bench) sampleLoad(ctx context.Context, r *running, l load) (sample, error) {
	if _, err := b.generate(ctx, r.setup.Listen, l, time.Second); err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	got, err := b.generate(ctx, r.setup.Listen, l, b.options.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	if got.requests == 0 {
		return sample{}, fmt.Errorf("%s completed no request", r.name)
	}
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user,
		Elapsed: got.elapsed, Requests: got.requests, Bytes: got.bytes, Mean: got.mean, P50: got.p50, P99: got.p99,
		Peak: after.peak, Failed: got.failed,
	}, nil
}

// sampleIdle opens many connections, asks once on each, lets them rest and compares
// the proxy's memory with what it was before. Then every connection must answer again.
func sampleIdle(ctx context.Context, b *bench, r *running) (sample, error) {
	return idleVisitors(ctx, b, r, b.options.idle, h1Visitor)
}

func idleVisitors(ctx context.Context, b *bench, r *running, n int, open func(addr string) (visitor, error)) (sample, error) {
	if need := uint64(n + 500); b.descriptors < need {
		return sample{}, fmt.Errorf("%d open files allowed, %d needed (ulimit -n)", b.descriptors, need)
	}
	few := gather(ctx, r.setup.Listen, 16, open) // pages every request touches are not the connections'
	few.askAgain(ctx)
	few.close()
	if err := sleep(ctx, time.Second); err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	many := gather(ctx, r.setup.Listen, n, open)
	defer many.close()
	if err := sleep(ctx, b.options.settle); err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	many.askAgain(ctx)
	return sample{
		Connections: int64(n), Before: before.rss, After: after.rss, Peak: after.peak,
		Requests: int64(2 * n), Failed: few.failed + many.failed,
	}, nil
}

// sampleStream moves the bytes through r once, after a sixteenth of them to warm up.
func sampleStream(ctx context.Context, b *bench, r *running) (sample, error) {
	total := int64(b.options.stream*(1<<30)) / streamConnections * streamConnections
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute+time.Duration(total/(50<<20))*time.Second,
		errors.New("stream slower than 50 MiB/s"))
	defer cancel()
	if _, err := receiveStreams(ctx, r.setup.Listen, streamConnections, total/16); err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	got, err := receiveStreams(ctx, r.setup.Listen, streamConnections, total)
	if err != nil {
		return sample{}, errors.Join(context.Cause(ctx), err)
	}
	elapsed := time.Since(began)
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user,
		Elapsed: elapsed, Bytes: got, Peak: after.peak,
	}, nil
}

func sampleStart(ctx context.Context, b *bench, r *running) (sample, error) {
	return startedWith(ctx, r, b.options.services, func(i int) error {
		return dialAsk(r.setup.Listen, fmt.Sprintf("/svc%d/", i), askLimit)
	})
}

// startedWith reads what the start with n things of a kind has cost; memory a second later.
// Then the first, a middle and the last must answer.
func startedWith(ctx context.Context, r *running, n int, ask func(i int) error) (sample, error) {
	atStart, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	s := sample{
		CPU: atStart.cpu, User: atStart.user, Ready: r.took,
		After: after.rss, Peak: after.peak,
	}
	last := n - 1
	for _, i := range []int{0, last / 2, last} {
		s.Requests++
		if err := ask(i); err != nil {
			s.Failed++
		}
	}
	return s, nil
}
