//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// handshakes runs one load of new TLS connections for d against addr, in a process of its own.
func (b *bench) handshakes(ctx context.Context, addr string, l load, d time.Duration) (loadResult, error) {
	argv := []string{b.self, "handshakes", "-addr", addr, "-path", l.path, "-connections", strconv.Itoa(l.connections), "-d", d.String()}
	if l.resume {
		argv = append(argv, "-resume")
	}
	p, err := spawn(command{name: "handshakes", argv: argv, cpus: b.loadCPUs})
	if err != nil {
		return loadResult{}, err
	}
	if err := p.wait(ctx); err != nil {
		return loadResult{}, err
	}
	return parseLoad(p.log.String())
}

// runHandshakes is the generator's process. It prints a line as load.lua does; a connection that did not resume as it should have
// is a failure of status.
func runHandshakes(args []string, out io.Writer) error {
	var g greeting
	f := flag.NewFlagSet("handshakes", flag.ContinueOnError)
	f.StringVar(&g.addr, "addr", "", "`address` to connect to")
	f.StringVar(&g.path, "path", "/", "what to ask for on each connection")
	f.BoolVar(&g.resume, "resume", false, "resume a session with every connection, instead of none")
	connections := f.Int("connections", 1, "connections at once")
	d := f.Duration("d", time.Second, "for how long")
	if err := f.Parse(args); err != nil {
		return err
	}
	t := g.run(*connections, *d)
	slices.Sort(t.times)
	_, err := fmt.Fprintf(out, "bench: requests=%d bytes=%d us=%d p50=%d p99=%d connect=%d read=%d write=0 timeout=0 status=%d\n",
		len(t.times), t.bytes, t.elapsed.Microseconds(), percentile(t.times, 50).Microseconds(), percentile(t.times, 99).Microseconds(),
		t.connect, t.read, t.unlike)
	return err
}

// A greeting is what the generator does with each connection: a handshake, one request, and then the peer closes.
type greeting struct {
	addr, path string
	resume     bool
}

// A tally is what came of many greetings.
type tally struct {
	times   []time.Duration // of those that were as they should be, from connecting to the end
	bytes   int64
	elapsed time.Duration
	connect int // failed to connect, or in the handshake
	read    int // failed later
	unlike  int // resumed, or did not, against what was wanted
}

// run greets for d over so many connections at once.
func (g *greeting) run(connections int, d time.Duration) tally {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum tally
	began := time.Now()
	for range connections {
		wg.Go(func() { // ends after d
			mine := g.repeat(began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			sum.times = append(sum.times, mine.times...)
			sum.bytes += mine.bytes
			sum.connect += mine.connect
			sum.read += mine.read
			sum.unlike += mine.unlike
		})
	}
	wg.Wait()
	sum.elapsed = time.Since(began)
	return sum
}

// repeat greets one connection after the other, at least one. Where each is to resume, there is one more before them, for the
// ticket alone.
func (g *greeting) repeat(until time.Time) (t tally) {
	config, in := clientTLS(), bufio.NewReaderSize(nil, 4<<10)
	if g.resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if _, _, err := g.once(config, in); err != nil {
			t.connect++
		}
	}
	for began := time.Now(); ; began = time.Now() {
		n, resumed, err := g.once(config, in)
		var handshake *handshakeError
		switch {
		case errors.As(err, &handshake):
			t.connect++
		case err != nil:
			t.read++
		case resumed != g.resume:
			t.unlike++
		default:
			t.bytes += n
			t.times = append(t.times, time.Since(began))
		}
		if !time.Now().Before(until) {
			return t
		}
	}
}

// A handshakeError is one before anything was asked.
type handshakeError struct{ error }

// once is one connection. The peer must answer with 200, and then close.
func (g *greeting) once(config *tls.Config, in *bufio.Reader) (n int64, resumed bool, err error) {
	c, err := dialTLS(g.addr, config, askLimit)
	if err != nil {
		return 0, false, &handshakeError{err}
	}
	defer func() { _ = c.Close() }() // the peer has closed, or is not needed any more
	resumed = c.ConnectionState().DidResume
	if _, err := io.WriteString(c, "GET "+g.path+" HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, resumed, err
	}
	in.Reset(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, resumed, err
	}
	defer resp.Body.Close()
	if n, err = io.Copy(io.Discard, resp.Body); err != nil {
		return n, resumed, err
	}
	if resp.StatusCode != http.StatusOK {
		return n, resumed, fmt.Errorf("status %d", resp.StatusCode)
	}
	if _, err := in.ReadByte(); err == nil {
		return n, resumed, errors.New("bytes behind the response")
	} else if err != io.EOF {
		return n, resumed, err
	}
	return n, resumed, nil
}
