//go:build linux

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A pace is a load of so many requests a second whatever the answers take, over connections that each ask for a host of their own.
type pace struct {
	targets []string // address and host, "127.0.0.1:80=host"
	rate    int
	d       time.Duration
}

// start runs the load in a process of its own.
func (b *bench) startPace(p pace) (*child, error) {
	return spawn(command{name: "pace", cpus: b.loadCPUs, argv: []string{
		b.self, "pace", "-to", strings.Join(p.targets, ","), "-rate", strconv.Itoa(p.rate), "-d", p.d.String(),
	}})
}

// keepPace runs the load to its end.
func (b *bench) keepPace(ctx context.Context, p pace) (loadResult, error) {
	c, err := b.startPace(p)
	if err != nil {
		return loadResult{}, err
	}
	return endOfPace(ctx, c)
}

// endOfPace waits for the process of a load.
func endOfPace(ctx context.Context, c *child) (loadResult, error) {
	if err := c.wait(ctx); err != nil {
		return loadResult{}, err
	}
	return parseLoad(c.log.String())
}

// runPace is the generator's process. It prints a line as load.lua does.
func runPace(args []string, out io.Writer) error {
	var p pace
	f := flag.NewFlagSet("pace", flag.ContinueOnError)
	to := f.String("to", "", "comma-separated `list` of ADDRESS=HOST, one for each connection")
	f.IntVar(&p.rate, "rate", 1000, "requests a second")
	f.DurationVar(&p.d, "d", time.Second, "for how long")
	if err := f.Parse(args); err != nil {
		return err
	}
	p.targets = strings.Split(*to, ",")
	t := p.run()
	slices.Sort(t.times)
	_, err := fmt.Fprintf(out, "bench: requests=%d bytes=0 us=%d p50=%d p99=%d connect=%d read=%d write=0 timeout=0 status=0\n",
		len(t.times), t.elapsed.Microseconds(), percentile(t.times, 50).Microseconds(), percentile(t.times, 99).Microseconds(),
		t.connect, t.read)
	return err
}

// run asks over all connections, which take turns.
func (p *pace) run() tally {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum tally
	began := time.Now()
	interval := time.Second * time.Duration(len(p.targets)) / time.Duration(p.rate)
	for i, target := range p.targets {
		first := began.Add(interval * time.Duration(i) / time.Duration(len(p.targets)))
		wg.Go(func() { // ends after d
			mine := keepAsking(target, first, interval, began.Add(p.d))
			mu.Lock()
			defer mu.Unlock()
			sum.times = append(sum.times, mine.times...)
			sum.connect += mine.connect
			sum.read += mine.read
		})
	}
	wg.Wait()
	sum.elapsed = time.Since(began)
	return sum
}

// keepAsking asks whenever it is time. A request that is late because the one before was answered late counts from when it was due; one that
// this process was late with does not.
func keepAsking(target string, due time.Time, interval time.Duration, until time.Time) (t tally) {
	addr, host, _ := strings.Cut(target, "=")
	request := []byte("GET /100 HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	in := bufio.NewReaderSize(nil, 4<<10)
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for ; due.Before(until); due = due.Add(interval) {
		began := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			began = time.Now()
		}
		if conn == nil {
			c, err := net.DialTimeout("tcp", addr, askLimit)
			if err != nil {
				t.connect++
				continue
			}
			conn = c
			in.Reset(conn)
		}
		if err := pass(conn, in, request); err != nil {
			t.read++
			conn.Close()
			conn = nil
			continue
		}
		t.times = append(t.times, time.Since(began))
	}
	return t
}

// pass is one request on an open connection.
func pass(c net.Conn, in *bufio.Reader, request []byte) error {
	if err := c.SetDeadline(time.Now().Add(askLimit)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
