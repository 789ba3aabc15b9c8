//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

const (
	fleetTables   = 10
	fleetEach     = 10                     // endpoints of a service
	paceRate      = 5000                   // requests a second beside changes of routes
	paceTargets   = 16                     // connections
	routeEvery    = 100 * time.Millisecond // from one change of a route to the next
	endpointEvery = 10 * time.Millisecond
)

// xdsScenarios are those in which everything comes from a control plane.
func xdsScenarios(o *options) []scenario {
	all := fleet{services: o.services, each: fleetEach, tables: fleetTables, delta: true}
	world, begun := all, all
	world.delta, begun.profiled = false, true
	size := fmt.Sprintf("%d clusters with %d endpoints each, %d routes", o.services, fleetEach, o.services)
	return []scenario{
		{
			name: "xds-load", title: "start with " + size + " by incremental ADS",
			kind: kindFleet, fleet: &begun, sample: sampleFleet, columns: fleetColumns(),
			targets: []target{{liveAfter(), "", 6000}, {rss(), "", 400}, {perCluster(), "", 24}},
		},
		{
			name:  "xds-route",
			title: fmt.Sprintf("%d changes of one route among them, one every %v, beside %d requests/s", o.changes, routeEvery, paceRate),
			kind:  kindFleet, fleet: &all, sample: sampleRoutes, columns: routeColumns(),
			targets: []target{{changeAfter(), "", 10}, {worse(), "", 2}},
		},
		{
			name: "xds-eds", title: fmt.Sprintf("%d changes of endpoints a second for %v", time.Second/endpointEvery, 12*o.duration),
			kind: kindFleet, fleet: &all, sample: sampleEndpoints, columns: endpointColumns(),
			targets: []target{{core(), "", 10}},
		},
		{
			name: "xds-same", title: "everything sent again unchanged, state of the world",
			kind: kindFleet, fleet: &world, sample: sampleSame, columns: sameColumns(),
			targets: []target{{rebuilt(), "", 0}},
		},
	}
}

func liveAfter() column {
	return column{"live ms", func(s sample) float64 { return micros(s.Ready) / 1000 }, 0}
}

func cpuMillis() column {
	return column{"CPU ms", func(s sample) float64 { return micros(s.CPU) / 1000 }, 0}
}

func perCluster() column {
	return column{"KiB/cluster", func(s sample) float64 { return per(float64(s.After-s.Before)/(1<<10), s.Services) }, 1}
}

func fleetColumns() []column {
	return []column{
		liveAfter(), cpuMillis(), rss(), perCluster(),
		{"empty MiB", func(s sample) float64 { return float64(s.Before) / (1 << 20) }, 1},
		peak(), failed(),
	}
}

func changeAfter() column {
	return column{"in force p99 ms", func(s sample) float64 { return micros(s.P99) / 1000 }, 2}
}

// worse is what changes add to the latency of requests.
func worse() column {
	return column{"p99 + ms", func(s sample) float64 { return micros(s.Beside-s.Baseline) / 1000 }, 2}
}

func routeColumns() []column {
	return []column{
		changeAfter(),
		{"in force p50 ms", func(s sample) float64 { return micros(s.P50) / 1000 }, 2},
		{"requests p99 ms", func(s sample) float64 { return micros(s.Beside) / 1000 }, 2},
		{"without ms", func(s sample) float64 { return micros(s.Baseline) / 1000 }, 2},
		worse(),
		{"requests/s", func(s sample) float64 { return float64(s.Requests) / s.Elapsed.Seconds() }, 0},
		busy(), peak(), failed(),
	}
}

// core is the share of one core that the changes take.
func core() column {
	return column{"% of a core", func(s sample) float64 { return 100 * s.CPU.Seconds() / s.Elapsed.Seconds() }, 2}
}

func endpointColumns() []column {
	return []column{
		core(),
		{"changes/s", func(s sample) float64 { return float64(s.Changes) / s.Elapsed.Seconds() }, 1},
		{"CPU µs/change", func(s sample) float64 { return per(micros(s.CPU), s.Changes) }, 0},
		{"in force", func(s sample) float64 { return float64(s.Rebuilt) }, 0},
		rss(), peak(), failed(),
	}
}

func rebuilt() column {
	return column{"rebuilt", func(s sample) float64 { return float64(s.Rebuilt) }, 0}
}

func sameColumns() []column {
	return []column{
		cpuMillis(),
		{"answered ms", func(s sample) float64 { return micros(s.Elapsed) / 1000 }, 0},
		rebuilt(), rss(), peak(), failed(),
	}
}

// sampleFleet reads what everything together has cost, and what a proxy costs that gets nothing.
func sampleFleet(ctx context.Context, b *bench, r *running) (sample, error) {
	atLive, err := readUsage(r.pid())
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
	r.plane.mu.Lock()
	s := sample{
		CPU: atLive.cpu, User: atLive.user, Ready: r.live.Sub(r.plane.first), After: after.rss, Peak: after.peak,
		Services: int64(r.plane.fleet.services),
	}
	r.plane.mu.Unlock()
	for i := 0; i < r.plane.fleet.services; i += max(1, r.plane.fleet.services/100) {
		s.Requests++
		if err := r.askService(i); err != nil {
			s.Failed++
		}
	}
	if err := b.heap(ctx, r, "xds-load"); err != nil {
		return sample{}, err
	}
	i := slices.IndexFunc(b.proxies, func(p proxy) bool { return p.name == r.name })
	none := fleet{tables: fleetTables, delta: true}
	empty, err := b.start(ctx, &b.proxies[i], scenario{kind: kindFleet, fleet: &none})
	if err != nil {
		return sample{}, fmt.Errorf("with an empty control plane: %w", err)
	}
	defer empty.stop()
	if err := sleep(ctx, time.Second); err != nil {
		return sample{}, err
	}
	before, err := readUsage(empty.pid())
	s.Before = before.rss
	return s, err
}

// sampleRoutes measures how soon changes of routes are in force, and what requests on other routes notice.
func sampleRoutes(ctx context.Context, b *bench, r *running) (sample, error) {
	f := r.plane.fleet
	p := pace{rate: paceRate, d: time.Second}
	for t := range paceTargets {
		from, _ := f.span(t % f.tables)
		p.targets = append(p.targets, f.listen[t%f.tables]+"="+hostOf(from+t/f.tables))
	}
	if _, err := b.keepPace(ctx, p); err != nil {
		return sample{}, err
	}
	p.d = time.Duration(b.options.changes)*routeEvery + time.Second
	alone, err := b.keepPace(ctx, p)
	if err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	profile := b.profile(ctx, r, "xds-route", p.d)
	load, err := b.startPace(p)
	if err != nil {
		return sample{}, err
	}
	defer load.stop()
	times, err := changeRoutes(ctx, r, b.options.changes)
	if err != nil {
		return sample{}, err
	}
	beside, err := endOfPace(ctx, load)
	if err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	slices.Sort(times)
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user, Elapsed: beside.elapsed, Requests: beside.requests,
		Changes: int64(len(times)), P50: percentile(times, 50), P99: percentile(times, 99), Baseline: alone.p99, Beside: beside.p99,
		Failed: alone.failed + beside.failed, After: after.rss, Peak: after.peak,
	}, profile()
}

// changeRoutes changes n routes, one after the other, and returns how long each took from being sent until it was in force.
func changeRoutes(ctx context.Context, r *running, n int) (times []time.Duration, err error) {
	f := r.plane.fleet
	random := rand.New(rand.NewPCG(1, 2))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // this process's own collection would be part of what it sees
	tick := time.NewTicker(routeEvery)
	defer tick.Stop()
	for k := range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		took, err := changeOne(r, random.IntN(f.services), fmt.Sprint("v", k))
		if err != nil {
			return nil, fmt.Errorf("change %d: %w", k, err)
		}
		times = append(times, took)
	}
	return times, nil
}

// changeOne asks for the route of a service until the answer shows the new version.
func changeOne(r *running, i int, version string) (time.Duration, error) {
	f := r.plane.fleet
	conn, err := net.DialTimeout("tcp", f.listen[f.tableOf(i)], askLimit)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := askHost(conn, hostOf(i), "/100", askLimit); err != nil {
		return 0, err
	}
	cfg := f.changeRoute(i, version)
	began := time.Now()
	sent := r.plane.set(cfg.GetName(), cfg)
	for {
		head, err := askHost(conn, hostOf(i), "/100", askLimit)
		now := time.Now()
		switch {
		case err != nil:
			return 0, err
		case head.Get(versionHeader) == version:
			r.plane.mu.Lock()
			defer r.plane.mu.Unlock()
			m := r.plane.sent[kit.RouteURL]
			if m.version != sent {
				return 0, fmt.Errorf("version %s is in force, and the last one sent is %s", sent, m.version)
			}
			return now.Sub(m.at), nil
		case now.Sub(began) > askLimit:
			return 0, fmt.Errorf("not in force after %v; rejected: %q", askLimit, r.plane.refused)
		}
	}
}

// sampleEndpoints changes one endpoint of some service at a fixed pace.
func sampleEndpoints(ctx context.Context, b *bench, r *running) (sample, error) {
	f, p := r.plane.fleet, r.plane
	random := rand.New(rand.NewPCG(3, 4))
	was, err := r.built(ctx)
	if err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	profile := b.profile(ctx, r, "xds-eds", 12*b.options.duration)
	last, changes := "", int(12*b.options.duration/endpointEvery)
	tick := time.NewTicker(endpointEvery)
	defer tick.Stop()
	began := time.Now()
	for k := range changes {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sample{}, context.Cause(ctx)
		}
		i := random.IntN(f.services)
		last = p.set(nameOfService(i), f.assignment(i, k+1))
	}
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := p.await(limited, func() bool { return p.acked[kit.EndpointURL] == last }); err != nil {
		return sample{}, err
	}
	elapsed := time.Since(began)
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	is, err := r.built(ctx)
	if err == nil && is-was < int64(changes)*9/10 { // two changes of a service may meet
		err = fmt.Errorf("%d changes were sent, and %d are in force", changes, is-was)
	}
	if err != nil {
		return sample{}, err
	}
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user, Elapsed: elapsed, Changes: int64(changes), Rebuilt: is - was,
		After: after.rss, Peak: after.peak,
	}, profile()
}

// sampleSame sends everything again, and counts what the proxy has built anew because of it.
func sampleSame(ctx context.Context, b *bench, r *running) (sample, error) {
	p := r.plane
	was, err := r.built(ctx)
	if err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	profile := b.profile(ctx, r, "xds-same", 2*time.Second)
	began := time.Now()
	version := p.again()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = p.await(limited, func() bool {
		for url := range p.offers {
			if p.acked[url] != version {
				return false
			}
		}
		return true
	})
	if err != nil {
		return sample{}, err
	}
	elapsed := time.Since(began)
	if err := profile(); err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	is, err := r.built(ctx)
	if err != nil {
		return sample{}, err
	}
	s := sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user, Elapsed: elapsed, Rebuilt: is - was, After: after.rss, Peak: after.peak,
	}
	for i := 0; i < p.fleet.services; i += max(1, p.fleet.services/100) {
		s.Requests++
		if err := r.askService(i); err != nil {
			s.Failed++
		}
	}
	return s, nil
}
