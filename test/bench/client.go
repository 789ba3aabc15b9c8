//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// askLimit bounds every single request outside the load generator's.
const askLimit = 5 * time.Second

// dialAsk opens a connection, asks once and closes it.
func dialAsk(addr, path string, limit time.Duration) error {
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(c, path, limit)
}

// ask sends a GET for path on c and reads the answer, which must be a whole 200
// that leaves the connection open.
func ask(c net.Conn, path string, limit time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Close {
		return fmt.Errorf("status %d, connection closing: %v", resp.StatusCode, resp.Close)
	}
	return nil
}

// A crowd is a number of keep-alive connections to one address.
type crowd struct {
	addr   string
	conns  []net.Conn
	failed int64
}

// gather opens n connections, a few at a time, and asks once on each.
func gather(ctx context.Context, addr string, n int) *crowd {
	g := &crowd{addr: addr, conns: make([]net.Conn, n)}
	g.each(ctx, func(i int) error {
		c, err := net.DialTimeout("tcp", addr, askLimit)
		if err != nil {
			return err
		}
		g.conns[i] = c
		return ask(c, "/100", askLimit)
	})
	return g
}

// askAgain asks once more on every connection: idle ones must still be there.
func (g *crowd) askAgain(ctx context.Context) {
	g.each(ctx, func(i int) error {
		if g.conns[i] == nil {
			return nil // counted when it was opened
		}
		return ask(g.conns[i], "/100", askLimit)
	})
}

// each calls f for every connection, sixteen at once, and counts the failures.
// Once ctx has ended the rest is not called and counts as failed.
func (g *crowd) each(ctx context.Context, f func(i int) error) {
	var wg sync.WaitGroup
	var next, failed atomic.Int64
	for range 16 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(g.conns) {
					return
				}
				if ctx.Err() != nil || f(i) != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	g.failed += failed.Load()
}

func (g *crowd) close() {
	for _, c := range g.conns {
		if c != nil {
			c.Close()
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
