package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

// Changes of what is wanted come in flocks; a request waits for the rest of its flock, so that 10,000 names are one request.
const (
	flockGap  = 2 * time.Millisecond  // the flock is over when nothing has come for this long
	flockMost = 50 * time.Millisecond // what a request waits for at most
)

// A stream keeps one gRPC stream open and says on it what its protocol has to say. One goroutine owns it.
type stream struct {
	client  *Client
	ledger  *ledger
	kinds   []*kind // that it is about
	proto   protocol
	link    *link
	method  string
	api     string
	bucket  *bucket
	backoff *backoff
	stats   *streamStats
	log     *slog.Logger
	poked   chan struct{} // has a value when what is wanted has changed

	first, last time.Time // of the flock that is coming; zero: none is
	limited     bool      // a request waits for a token

	now       StreamState
	requests  map[*kind]time.Time
	responses map[*kind]time.Time
	refusals  map[*kind]*refusal
	shown     atomic.Pointer[StreamState]
}

// streamStats are Envoy's, below control_plane for the aggregated stream of the bootstrap, below xds.<source> for others.
type streamStats struct {
	connected, pending *stats.Gauge
	limited            *stats.Counter
	identifier         *stats.Text
}

func newStream(g *grpcSource, k *kind) *stream {
	c := g.client
	s := &stream{
		client: c, ledger: g.ledger, kinds: []*kind{k}, link: g.link, api: g.config.GetApiType().String(), poked: make(chan struct{}, 1),
		bucket: newBucket(g.config.GetRateLimitSettings()), requests: map[*kind]time.Time{}, responses: map[*kind]time.Time{},
		refusals: map[*kind]*refusal{},
	}
	once := g.config.GetSetNodeOnFirstMessageOnly()
	if g.incremental() {
		s.proto = newDelta(g.ledger, c.o.Node, once)
	} else {
		s.proto = newSotW(g.ledger, c.o.Node, once)
	}
	switch {
	case k == nil:
		s.kinds = nil
		for i := range kinds {
			s.kinds = append(s.kinds, &kinds[i])
		}
		s.method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
		if g.incremental() {
			s.method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
		}
	case g.incremental():
		s.method = k.service + k.delta
	default:
		s.method = k.service + k.stream
	}
	service := g.link.service
	policy := service.GetRetryPolicy()
	if p := service.GetEnvoyGrpc().GetRetryPolicy(); policy == nil && p != nil {
		policy = p
	}
	s.backoff = newBackoff(policy)
	scope := c.o.Stats.Scope("control_plane")
	if !g.ledger.source.ADS() {
		scope = c.o.Stats.Scope("xds." + g.ledger.source.String() + ".control_plane")
	}
	s.stats = &streamStats{
		connected: scope.Gauge("connected_state"), pending: scope.Gauge("pending_requests"),
		limited: scope.Counter("rate_limit_enforced"), identifier: scope.Text("identifier"),
	}
	s.log = c.log.With("source", g.ledger.source.String(), "method", s.method)
	s.now = StreamState{Source: g.ledger.source.String(), Transport: "grpc", API: s.api, Method: s.method, Since: time.Now()}
	return s
}

// run keeps a stream open until ctx ends.
func (s *stream) run(ctx context.Context) {
	for {
		s.hear()
		err := s.session(ctx)
		s.stats.pending.Set(0)
		if s.now.Connected {
			s.stats.connected.Dec()
		}
		if ctx.Err() != nil {
			return
		}
		s.link.check()
		s.failed(err)
		if !s.pause(ctx, s.backoff.next()) {
			return
		}
	}
}

// failed tells the log and those who wait that the source could not be asked.
func (s *stream) failed(err error) {
	if s.now.Connected || s.now.LastError != err.Error() {
		s.log.Warn("the stream to a control plane has ended", "error", err)
	}
	s.now.Connected, s.now.Since, s.now.LastError, s.now.LastErrorAt = false, time.Now(), err.Error(), time.Now()
	s.client.failing(s.ledger)
	for _, k := range s.kinds {
		for _, name := range s.ledger.wanted(k) {
			s.client.o.Hub.Fail(s.ledger.source, resource.Key{Type: k.name, Name: name})
		}
	}
	s.client.failing(s.ledger)
}

// pause waits before the next try. Those who come meanwhile get what there is. It returns false when ctx has ended.
func (s *stream) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	s.now.BackOff = d
	for {
		s.show()
		select {
		case <-timer.C:
			s.now.BackOff = 0
			return true
		case <-s.poked:
			s.hear()
		case <-ctx.Done():
			return false
		}
	}
}

// hear tells the protocol what has changed of what is wanted, and gives what is in force to those who want it anew.
func (s *stream) hear() {
	for _, k := range s.kinds {
		for _, w := range s.ledger.news(k) {
			s.proto.want(w)
			if w.On {
				s.client.replay(s.ledger, w)
			}
		}
	}
}

// received is a message, or why there are no more.
type received struct {
	message proto.Message
	err     error
}

// session is one stream, from its opening to its end.
func (s *stream) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	conn, err := s.connect(ctx, &group)
	if err != nil {
		return err
	}
	s.now.Connected, s.now.Since = true, time.Now()
	s.now.Streams++
	s.stats.connected.Inc()
	s.log.Info("connected to a control plane")

	in := make(chan received)
	out, sent := make(chan proto.Message, 1), make(chan error, 1)
	group.Go(func() { s.receive(ctx, conn, in) })
	group.Go(func() { send(ctx, conn, out, sent) })
	s.proto.open()
	s.first = time.Time{}
	return s.talk(ctx, in, out, sent)
}

// connect opens the stream; those who come meanwhile get what there is.
func (s *stream) connect(ctx context.Context, group *sync.WaitGroup) (grpc.ClientStream, error) {
	type opened struct {
		stream grpc.ClientStream
		err    error
	}
	if strings.HasSuffix(s.method, "/") {
		return nil, fmt.Errorf("there is no state-of-the-world service for %s; use DELTA_GRPC", s.kinds[0].short)
	}
	done := make(chan opened, 1)
	group.Go(func() {
		x, err := s.link.stream(ctx, s.method)
		done <- opened{x, err}
	})
	for {
		s.show()
		select {
		case o := <-done:
			return o.stream, o.err
		case <-s.poked:
			s.hear()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// receive reads one message after the other; the next not before the last was taken, so that gRPC's flow control holds the rest back.
func (s *stream) receive(ctx context.Context, conn grpc.ClientStream, in chan<- received) {
	for {
		m := s.proto.response()
		err := conn.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			err = errors.New("closed by the control plane")
		}
		select {
		case in <- received{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// send writes requests apart from the goroutine that takes responses: a control plane that writes may not read until it has been heard.
func send(ctx context.Context, conn grpc.ClientStream, out <-chan proto.Message, sent chan<- error) {
	for {
		select {
		case m := <-out:
			sent <- conn.SendMsg(m)
		case <-ctx.Done():
			return
		}
	}
}

// talk says what there is to say and takes what comes, until the stream or ctx ends.
func (s *stream) talk(ctx context.Context, in <-chan received, out chan<- proto.Message, sent <-chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	sending := false
	for {
		if !sending {
			wait, some := s.due(time.Now())
			if some && wait == 0 {
				if m, k := s.proto.next(s.calm(time.Now())); m != nil {
					s.first, sending = time.Time{}, true
					s.requests[k] = time.Now()
					out <- m
				}
			}
			if wait > 0 {
				timer.Reset(wait)
			}
		}
		s.show()
		select {
		case x := <-in:
			if x.err != nil {
				return x.err
			}
			s.take(x.message)
		case err := <-sent:
			if sending = false; err != nil && !errors.Is(err, io.EOF) { // EOF: receive knows why
				return err
			}
		case <-s.poked:
			s.hear()
			s.flock(time.Now())
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flock notes that something has changed in what is wanted, and that more may come.
func (s *stream) flock(now time.Time) {
	if s.proto.pending(s.calm(now)) == 0 {
		return
	}
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
}

// due reports whether there is a request to send, and how long to wait before it is sent.
func (s *stream) due(now time.Time) (wait time.Duration, some bool) {
	n := s.proto.pending(s.calm(now))
	if n == 0 {
		s.stats.pending.Set(0)
		s.limited = false
		return s.untilCalm(now), false
	}
	if !s.first.IsZero() {
		until := s.last.Add(flockGap)
		if most := s.first.Add(flockMost); most.Before(until) {
			until = most
		}
		if d := until.Sub(now); d > 0 {
			return d, true
		}
	}
	if d := s.bucket.take(now); d > 0 {
		if !s.limited {
			s.limited = true
			s.stats.limited.Inc()
		}
		s.stats.pending.Set(int64(n))
		return d, true
	}
	s.limited = false
	s.stats.pending.Set(int64(n - 1))
	return 0, true
}

// take takes one response.
func (s *stream) take(m proto.Message) {
	r := s.proto.read(m)
	if r == nil {
		s.client.stats.stray.Inc()
		return
	}
	s.backoff.reset()
	k := kindOfURL(r.typeURL)
	s.responses[k] = time.Now()
	if r.control != "" && r.control != s.now.ControlPlane {
		s.now.ControlPlane = clip(r.control)
		s.stats.identifier.Set(s.now.ControlPlane)
	}
	rejected := s.client.take(s.ledger.source, r)
	s.client.sort()
	s.hear()
	s.proto.settle(r, rejected)
	if s.refused(k, r.version, rejected) {
		s.log.Error("a control plane has sent resources that are rejected", "type", k.short, "version", r.version,
			"resources", len(r.items), "rejected", len(rejected), "error", summary(rejected))
	}
}

// summary is the first few of many rejections, for the log.
func summary(rejected []resource.Rejection) string {
	const most = 5
	text := reason(rejected[:min(most, len(rejected))]).GetMessage()
	if more := len(rejected) - most; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	return text
}

// show publishes the state of the stream.
func (s *stream) show() {
	x := s.now
	topics := s.proto.topics()
	x.Types = make([]TypeState, len(topics))
	for i, t := range topics {
		x.Types[i] = TypeState{
			Type: t.kind.name, URL: t.kind.url, Names: t.names, Wildcard: t.wildcard, Version: t.version, Nonce: t.nonce,
			LastRequest: s.requests[t.kind], LastResponse: s.responses[t.kind], Pending: t.pending, LastNACK: t.nack,
		}
	}
	s.shown.Store(&x)
}
