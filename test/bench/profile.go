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

// captureProfile writes dir/weft-NAME.pprof: weft's CPU profile under the load of a
// scenario, if it is one. It is a turn of its own, since profiling costs CPU.
func (b *bench) captureProfile(ctx context.Context, s scenario, dir string) error {
	if s.load == nil {
		return nil
	}
	i := slices.IndexFunc(b.proxies, func(p proxy) bool { return p.name == "weft" })
	if i < 0 {
		return errors.New("weft is not among the proxies")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r, err := b.start(ctx, &b.proxies[i], s)
	if err != nil {
		return err
	}
	defer r.stop()
	seconds := max(1, int(b.options.duration/time.Second))
	path := filepath.Join(dir, "weft-"+s.name+".pprof")
	fetched := make(chan error, 1)
	go func() {
		fetched <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.setup.Admin, seconds),
			path, time.Duration(seconds+30)*time.Second)
	}()
	_, loadErr := b.generate(ctx, r.setup.Listen, *s.load, time.Duration(seconds+1)*time.Second)
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
