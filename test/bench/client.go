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
	_, err := askHost(c, "bench", path, limit)
	return err
}

// askHost is ask for a path of a host. It returns the head of the answer.
func askHost(c net.Conn, host, path string, limit time.Duration) (http.Header, error) {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.Close {
		return nil, fmt.Errorf("status %d, connection closing: %v", resp.StatusCode, resp.Close)
	}
	return resp.Header, nil
}

// A visitor is a connection that asks for "/100" whenever it is told to.
type visitor interface {
	ask() error
	io.Closer
}

// A guest is a visitor that speaks HTTP/1.1.
type guest struct{ net.Conn }

func (g guest) ask() error { return ask(g.Conn, "/100", askLimit) }

func h1Visitor(addr string) (visitor, error) {
	c, err := net.DialTimeout("tcp", addr, askLimit)
	if err != nil {
		return nil, err
	}
	return guest{c}, nil
}

// A crowd is a number of keep-alive connections to one address.
type crowd struct {
	visitors []visitor
	failed   int64
}

// gather opens n connections, a few at a time, and asks once on each.
func gather(ctx context.Context, addr string, n int, open func(addr string) (visitor, error)) *crowd {
	g := &crowd{visitors: make([]visitor, n)}
	g.each(ctx, func(i int) error {
		v, err := open(addr)
		if err != nil {
			return err
		}
		g.visitors[i] = v
		return v.ask()
	})
	return g
}

// askAgain asks once more on every connection: idle ones must still be there.
func (g *crowd) askAgain(ctx context.Context) {
	g.each(ctx, func(i int) error {
		if g.visitors[i] == nil {
			return nil // counted when it was opened
		}
		return g.visitors[i].ask()
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
				if i >= len(g.visitors) {
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
	for _, v := range g.visitors {
		if v != nil {
			v.Close()
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
