//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// askService asks the listener of a service for it, on a connection of its own.
func (r *running) askService(i int) error {
	f := r.plane.fleet
	conn, err := net.DialTimeout("tcp", f.listen[f.tableOf(i)], askLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = askHost(conn, hostOf(i), "/100", askLimit)
	return err
}

// fleetProbe returns a check that all of the fleet is in force: the last service of each table answers, and no cluster or listener warms. It
// notes when the last of them had answered.
func (r *running) fleetProbe() func() error {
	f, table := r.plane.fleet, 0
	return func() error {
		for ; table < f.tables; table++ {
			if err := r.tableLive(table); err != nil {
				return err
			}
			r.live = time.Now()
		}
		err := r.nothingWarms()
		if err != nil {
			table = f.tables - 1
		}
		return err
	}
}

// tableLive returns an error unless the last service of a table answers; the listener of an empty one must let itself be connected to.
func (r *running) tableLive(t int) error {
	f := r.plane.fleet
	if from, to := f.span(t); from < to {
		return r.askService(to - 1)
	}
	conn, err := net.DialTimeout("tcp", f.listen[t], askLimit)
	if err == nil {
		conn.Close()
	}
	return err
}

func (r *running) nothingWarms() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := r.stats(ctx, `^(cluster_manager\.(warming|active)_clusters|listener_manager\.total_listeners_(warming|active))$`)
	if err != nil {
		return err
	}
	f := r.plane.fleet
	want := map[string]int64{
		"cluster_manager.warming_clusters": 0, "cluster_manager.active_clusters": int64(f.services) + 1, // the control plane's own
		"listener_manager.total_listeners_warming": 0, "listener_manager.total_listeners_active": int64(f.tables),
	}
	for name, n := range want {
		if v, ok := got[name]; !ok || v != n {
			return fmt.Errorf("%s is %d, want %d", name, v, n)
		}
	}
	r.plane.mu.Lock()
	defer r.plane.mu.Unlock()
	if len(r.plane.refused) > 0 {
		return fmt.Errorf("rejected: %s", r.plane.refused[0])
	}
	return nil
}

// built counts what the proxy has built so far: clusters, listeners, route tables, sets of endpoints.
func (r *running) built(ctx context.Context) (sum int64, err error) {
	got, err := r.stats(ctx, `(\.cluster_(added|modified|removed)|\.listener_(added|modified|removed)|\.config_reload|\.membership_change)$`)
	for _, n := range got {
		sum += n
	}
	if err == nil && sum == 0 {
		err = errors.New("the proxy says that it has built nothing")
	}
	return sum, err
}

// stats returns the counters and gauges whose names match.
func (r *running) stats(ctx context.Context, filter string) (map[string]int64, error) {
	text, err := get(ctx, "http://"+r.setup.Admin+"/stats?filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("stats: %q", line)
		}
		all[name] = n
	}
	return all, nil
}

// get returns what url answers with 200.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(b), err
}

// profile takes a CPU profile of weft from now on for d where -profile asks for it, which makes the numbers worse. The caller calls the
// function it returns at the end.
func (b *bench) profile(ctx context.Context, r *running, name string, d time.Duration) (wait func() error) {
	dir := b.options.profile
	if dir == "" {
		return func() error { return nil }
	}
	fetched := make(chan error, 1)
	go func() { // ends with d, or ctx
		err := os.MkdirAll(dir, 0o755)
		for wait := time.Now().Add(askLimit); err == nil; {
			err = fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.setup.Admin, max(1, int(d/time.Second))),
				filepath.Join(dir, "weft-"+name+".pprof"), d+30*time.Second)
			if err == nil || time.Now().After(wait) {
				break
			}
			err = sleep(ctx, time.Millisecond) // it has not started yet
		}
		fetched <- err
	}()
	return func() error { return <-fetched }
}

// heap writes a profile of what weft has in memory where -profile asks for it.
func (b *bench) heap(ctx context.Context, r *running, name string) error {
	if b.options.profile == "" {
		return nil
	}
	return fetch(ctx, "http://"+r.setup.Admin+"/debug/pprof/heap?gc=1", filepath.Join(b.options.profile, "weft-"+name+".heap"), 30*time.Second)
}
