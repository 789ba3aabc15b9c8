//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// captureProfile writes dir/weft-get.pprof: weft's CPU profile under the load of the
// get scenario. It is a turn of its own, since profiling costs CPU.
func (b *bench) captureProfile(ctx context.Context, dir string) error {
	i := slices.IndexFunc(b.proxies, func(p proxy) bool { return p.name == "weft" })
	if i < 0 {
		return errors.New("weft is not among the proxies")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r, err := b.start(ctx, &b.proxies[i], kindHTTP)
	if err != nil {
		return err
	}
	defer r.stop()
	seconds := max(1, int(b.options.duration/time.Second))
	path := filepath.Join(dir, "weft-get.pprof")
	fetched := make(chan error, 1)
	go func() {
		fetched <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.setup.Admin, seconds),
			path, time.Duration(seconds+30)*time.Second)
	}()
	_, loadErr := b.wrk(ctx, r.setup.Listen, load{path: "/100", connections: 64}, time.Duration(seconds+1)*time.Second)
	return errors.Join(loadErr, <-fetched)
}

// fetch saves what url answers.
func fetch(ctx context.Context, url, path string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
