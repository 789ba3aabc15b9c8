//go:build linux

package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

const (
	attackers      = 8                     // connections at once
	attackPause    = 10 * time.Millisecond // before a connection that was refused or closed is made anew
	attackPatience = 5 * time.Second       // for a peer that takes nothing
)

// attackScenarios are one for each flood: what it costs the proxy in memory, and a client
// that behaves in latency.
func attackScenarios() []scenario {
	growth := column{"RSS growth MiB", func(s sample) float64 { return float64(s.After-s.Before) / (1 << 20) }, 1}
	worse := column{"p99 × baseline", func(s sample) float64 { return float64(s.P99) / float64(s.Baseline) }, 2}
	refused := column{failed().title, func(s sample) float64 { return float64(s.Refused) }, 0}
	columns := []column{
		growth, worse,
		{"p99 µs", func(s sample) float64 { return micros(s.P99) }, 0},
		{"baseline p99 µs", func(s sample) float64 { return micros(s.Baseline) }, 0},
		{"p50 µs", func(s sample) float64 { return micros(s.P50) }, 0},
		{"frames/s", func(s sample) float64 { return float64(s.Frames) / s.Elapsed.Seconds() }, 0},
		{"connections/s", func(s sample) float64 { return float64(s.Connections) / s.Elapsed.Seconds() }, 0},
		busy(), refused,
	}
	var all []scenario
	for _, f := range floods() {
		all = append(all, scenario{
			name: "h2-attack-" + f.name, title: fmt.Sprintf("%s, from %d connections (%s)", f.title, attackers, f.source),
			kind: kindH2H1, asked: true, columns: columns, targets: []target{{growth, "", 64}, {worse, "", 2}, {refused, "", 0}},
			sample: func(ctx context.Context, b *bench, r *running) (sample, error) { return b.sampleAttack(ctx, r, f.name) },
		})
	}
	return all
}

// sampleAttack measures a client that behaves, alone and then beside the attack. The attack
// is a process that runs when its CPU has nothing else to do, so that it takes time from the
// proxy but not from the client and the upstream.
func (b *bench) sampleAttack(ctx context.Context, r *running, flood string) (sample, error) {
	if _, err := b.behave(ctx, r.setup.Listen, time.Second); err != nil {
		return sample{}, err
	}
	alone, err := b.behave(ctx, r.setup.Listen, b.options.duration)
	if err != nil {
		return sample{}, err
	}
	before, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	attack, err := spawn(command{
		name: "attack", argv: []string{b.self, "attack", "-flood", flood, "-addr", r.setup.Listen}, cpus: b.loadCPUs, bye: syscall.SIGTERM,
	})
	if err != nil {
		return sample{}, err
	}
	defer attack.stop()
	beside, err := b.behave(ctx, r.setup.Listen, b.options.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := readUsage(r.pid())
	if err != nil {
		return sample{}, err
	}
	attack.stop()
	var frames, connections int64
	if _, err := fmt.Sscanf(attack.log.String(), "frames=%d connections=%d", &frames, &connections); err != nil {
		return sample{}, fmt.Errorf("attack: %w: %s", err, attack.log)
	}
	most := after.rss
	if after.peak > before.peak {
		most = after.peak
	}
	return sample{
		CPU: after.cpu - before.cpu, User: after.user - before.user, Elapsed: beside.elapsed,
		Requests: beside.requests, P50: beside.p50, P99: beside.p99, Baseline: alone.p99, Frames: frames, Connections: connections,
		Before: before.rss, After: most, Peak: after.peak, Failed: alone.failed, Refused: beside.failed,
	}, nil
}

const (
	behavers     = 4
	behaverPause = 2 * time.Millisecond // between the requests of each
)

// behave asks from a few connections at a moderate pace for d.
func (b *bench) behave(ctx context.Context, addr string, d time.Duration) (r loadResult, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var times []time.Duration
	began := time.Now()
	for range behavers {
		wg.Go(func() { // ends after d
			mine, failed := behaveOne(ctx, addr, began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			r.failed += failed
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if len(times) == 0 {
		return r, fmt.Errorf("none of %d requests of a client that behaves was answered", r.failed)
	}
	slices.Sort(times)
	r.requests, r.elapsed = int64(len(times)), time.Since(began)
	r.p50, r.p99 = percentile(times, 50), percentile(times, 99)
	return r, nil
}

// behaveOne asks on one connection and opens another when it fails.
func behaveOne(ctx context.Context, addr string, until time.Time) (times []time.Duration, failed int64) {
	var v visitor
	defer func() {
		if v != nil {
			v.Close()
		}
	}()
	for time.Now().Before(until) && sleep(ctx, behaverPause) == nil {
		var err error
		if v == nil {
			if v, err = h2Visitor(addr); err != nil {
				v = nil
				failed++
				continue
			}
		}
		began := time.Now()
		if err := v.ask(); err != nil {
			failed++
			v.Close()
			v = nil
			continue
		}
		times = append(times, time.Since(began))
	}
	return times, failed
}

// runAttack is the attacking process: it floods until it is asked to stop, then prints what
// it has sent.
func runAttack(args []string, out io.Writer) error {
	f := flag.NewFlagSet("attack", flag.ContinueOnError)
	addr := f.String("addr", "", "`address` to attack")
	name := f.String("flood", "", "which flood")
	if err := f.Parse(args); err != nil {
		return err
	}
	i := slices.IndexFunc(floods(), func(f flood) bool { return f.name == *name })
	if i < 0 {
		return fmt.Errorf("no flood %q", *name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := yieldToAll(); err != nil {
		return err
	}
	frames, connections := flooding(ctx, *addr, floods()[i])
	fmt.Fprintf(out, "frames=%d connections=%d\n", frames, connections)
	return nil
}

// yieldToAll lets every thread of this process, and those they will start, run only when
// nothing else wants its CPU (SCHED_IDLE, sched(7)).
func yieldToAll() error {
	return eachThread(func(tid int) error {
		return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
	})
}

// flooding attacks until ctx ends and returns what it took.
func flooding(ctx context.Context, addr string, f flood) (frames, connections int64) {
	var wg sync.WaitGroup
	var sent, opened atomic.Int64
	for range attackers {
		wg.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				if a, err := openAttack(ctx, addr, f); err == nil {
					opened.Add(1)
					_ = f.run(a) // it ends when the peer has had enough
					sent.Add(a.frames)
					a.close()
				}
				_ = sleep(ctx, attackPause) // seen by the loop
			}
		})
	}
	wg.Wait()
	return sent.Load(), opened.Load()
}

// An attacker is one connection of an attack.
type attacker struct {
	conn   net.Conn
	framer *http2.Framer // writes to out
	out    strings.Builder
	block  strings.Builder
	fields *hpack.Encoder
	next   uint32
	frames int64
	stop   func() bool
	done   chan struct{} // closed when nothing is read any more
}

// openAttack connects and greets with the window f wants. What the peer sends is read and
// dropped, unless f leaves it unread.
func openAttack(ctx context.Context, addr string, f flood) (*attacker, error) {
	conn, err := (&net.Dialer{Timeout: attackPatience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	a := &attacker{conn: conn, next: 1, done: make(chan struct{})}
	a.stop = context.AfterFunc(ctx, func() { conn.Close() })
	a.framer = http2.NewFramer(&a.out, nil)
	a.framer.AllowIllegalWrites = true
	a.fields = hpack.NewEncoder(&a.block)
	a.out.WriteString(http2.ClientPreface)
	_ = a.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: f.window})
	_ = a.framer.WriteSettingsAck()
	if f.unread {
		close(a.done)
	} else {
		go func() { // ends when the connection does
			_, _ = io.Copy(io.Discard, conn)
			close(a.done)
		}()
	}
	return a, a.flush()
}

func (a *attacker) close() {
	a.stop()
	a.conn.Close()
	<-a.done
}

// flush sends the frames written so far. Writing them cannot fail: out takes everything.
func (a *attacker) flush() error {
	if err := a.conn.SetWriteDeadline(time.Now().Add(attackPatience)); err != nil {
		return err
	}
	_, err := io.WriteString(a.conn, a.out.String())
	a.out.Reset()
	return err
}

// hold waits until the peer closes the connection, which the attacker reads, or the attack ends.
func (a *attacker) hold() error {
	<-a.done
	return io.EOF
}

// idle waits until the connection ends without reading: it looks whether the peer has
// hung up (POLLRDHUP and POLLHUP say so whatever is left unread).
func (a *attacker) idle() error {
	raw, err := a.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	for {
		var events int16
		err := raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			if _, err := unix.Poll(p, 0); err == nil {
				events = p[0].Revents
			}
		})
		if err != nil || events != 0 {
			return cmp.Or(err, io.EOF)
		}
		time.Sleep(attackPause)
	}
}

// stream returns a fresh stream's number.
func (a *attacker) stream() uint32 {
	id := a.next
	a.next += 2
	return id
}

// section encodes fields.
func (a *attacker) section(fields ...hpack.HeaderField) []byte {
	a.block.Reset()
	for _, f := range fields {
		_ = a.fields.WriteField(f)
	}
	return []byte(a.block.String())
}

// request is the fields of a request for path.
func request(method, path string) []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "bench"},
	}
}

// open writes HEADERS and returns the stream.
func (a *attacker) open(block []byte, endStream bool) uint32 {
	id := a.stream()
	_ = a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: endStream})
	a.frames++
	return id
}

// raw writes one frame.
func (a *attacker) raw(t http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	_ = a.framer.WriteRawFrame(t, flags, id, payload)
	a.frames++
}
