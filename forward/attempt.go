package forward

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"syscall"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/upstream"
)

// attempt sends the request to a host, once, and returns the head of its response.
func (f *flight) attempt() (*message.Response, error) {
	x := f.x
	x.At(exchange.Pick)
	host, err := f.cluster.Pick(&f.hints)
	f.host, f.entry.Response = host, nil
	f.attempts++
	x.Record.Attempts = f.attempts
	x.Trying(host, f.attempts)
	if err != nil || host == nil {
		return nil, errNoHost
	}
	f.note(host)
	x.At(exchange.Acquire)
	if f.terminates() {
		return f.connect(host)
	}
	lease, err := host.Acquire(f.ctx, &f.demand)
	if err != nil {
		if scope.Cause(f.ctx) != nil {
			f.counts.RqCancelled.Inc()
		}
		f.log()
		return nil, err
	}
	f.begin(lease.Session.Conn(), lease.Reused, lease.Session.Version().String())
	x.At(exchange.Send)
	if x.Complete() {
		x.At(exchange.Receive)
	}
	resp, err := lease.Session.RoundTrip(f.context(), x.Request)
	if err != nil {
		f.started = f.started || !nothingSent(err)
		if scope.Cause(f.ctx) == nil && classify(err) == remoteReset {
			f.counts.RqRxReset.Inc()
		}
		f.end(scope.Now())
		f.log()
		return nil, err
	}
	x.At(exchange.Receive)
	f.started = true
	f.received(resp)
	return resp, nil
}

// note writes down which host is tried.
func (f *flight) note(host *upstream.Host) {
	r := &f.x.Record
	r.UpstreamHost, r.UpstreamName, r.UpstreamPath = host.AddrPort(), host.Hostname(), ""
	if !r.UpstreamHost.IsValid() {
		r.UpstreamPath = host.Address()
	}
	r.UpstreamConnID, r.UpstreamProtocol, r.UpstreamTLS = 0, "", nil
	f.entry.Metadata.Host = host.Metadata()
	if f.x.UpstreamScheme {
		f.x.Request.Scheme = host.Scheme()
	}
	if f.retries.policy != nil && f.retries.policy.AvoidPrevious {
		f.tried = append(f.tried, host.Address())
		f.hints.Exclude, f.hints.Attempts = f.exclude, f.retries.policy.HostAttempts
	}
	if name := host.Hostname(); f.x.Route.HostRewrite.Auto && name != "" {
		f.x.Request.Authority = f.x.Inbound.Authority // what another attempt made of it is not the original
		f.x.Route.SetHost(f.x.Request, name, !f.r.suppress)
	}
}

func (f *flight) wasTried(address string) bool {
	for _, a := range f.tried {
		if a == address {
			return true
		}
	}
	return false
}

// begin counts the attempt: it has a connection.
func (f *flight) begin(c *conn.Conn, reused bool, speaks string) {
	f.reused = reused
	info, r := c.Info(), &f.x.Record
	r.UpstreamConnID, r.UpstreamLocal, r.UpstreamProtocol, r.UpstreamTLS = info.ID, info.DirectLocal, speaks, info.TLS
	r.UpstreamBegan = scope.Now()
	f.active = true
	f.counts.RqTotal.Inc()
	f.each(classTotal)
	f.counts.RqActive.Inc()
	n := f.host.Stats()
	n.RqTotal.Inc()
	n.RqActive.Inc()
}

// end undoes begin, once.
func (f *flight) end(now int64) {
	if f.active {
		f.active = false
		f.counts.RqActive.Dec()
		f.host.Stats().RqActive.Dec()
		f.x.Record.UpstreamDone = now
	}
	if f.nested {
		f.nested = false
		f.link.Stop()
		f.child.End()
		f.child.Close()
	}
}

// received writes down what is known when the head is there. The session may serve somebody else as soon as the body has ended.
func (f *flight) received(resp *message.Response) {
	r := &f.x.Record
	r.UpstreamFirst, r.UpstreamSent = 0, 0
	if call, ok := resp.Owner.(protocol.Call); ok { // whose other counts may change meanwhile
		n := call.Counts()
		r.UpstreamFirst, r.UpstreamSent = n.ResponseBegan, n.RequestDone
		r.UpstreamHeadOut, r.UpstreamHeadIn = n.RequestHead, n.ResponseHead
		r.UpstreamWireOut, r.UpstreamWireIn = n.RequestHead, n.ResponseHead
	}
	if r.UpstreamFirst == 0 {
		r.UpstreamFirst = scope.Now()
	}
	if f.nested {
		f.child.Extend(scope.Try, 0)
	}
}

// context returns what the attempt runs under: the exchange's scope, or one below it that has the attempt's own timeouts.
func (f *flight) context() context.Context {
	most := f.cluster.Config.HTTP.MaxStream
	if f.timeouts.perTry == 0 && f.timeouts.perTryIdle == 0 && most == 0 {
		return f.ctx
	}
	f.nested = true
	f.armed.Store(false)
	f.child.Begin(f.ctx)
	f.link = scope.OnCancel(f.ctx, f)
	if most > 0 {
		f.child.Arm(scope.Stream, scope.Now()+int64(most))
	}
	if f.x.Complete() {
		f.arm()
	}
	return &f.child
}

// Wake implements scope.Waker: the exchange is cancelled, and so is its attempt.
func (f *flight) Wake(cause error) { f.child.Cancel(cause) }

// arm starts the attempt's timeouts, which run from the end of the request.
func (f *flight) arm() {
	if !f.nested || f.armed.Swap(true) {
		return
	}
	now := scope.Now()
	if f.timeouts.perTry > 0 {
		f.child.Arm(scope.Try, now+int64(f.timeouts.perTry))
	}
	if f.timeouts.perTryIdle > 0 {
		f.child.Arm(scope.TryIdle, now+int64(f.timeouts.perTryIdle))
	}
}

// expired says what the attempt fails with when one of its timeouts has passed.
func (f *flight) expired(due scope.Due) error {
	switch due {
	case scope.Try:
		return errPerTry
	case scope.TryIdle:
		return errPerTryIdle
	case scope.Stream:
		return errMaxStream
	}
	return nil
}

// again decides whether there is another attempt, and how long to wait for it. It closes the response of the one that is over.
func (f *flight) again(resp *message.Response, err error) (time.Duration, bool) {
	r := &f.retries
	wanted := false
	if err == nil {
		wanted = r.on != 0 && !f.informed.Load() && r.wantsResponse(resp)
		if !wanted && r.holding {
			f.counts.RqRetrySuccess.Inc()
			f.each(classRetrySuccess)
		}
	} else if why := f.why(err); why != notReset {
		if f.fresh(why, err) {
			f.refreshed++
			return 0, true
		}
		wanted = r.on != 0 && !f.informed.Load() && r.wantsReset(why, f.started)
	}
	f.letGo()
	if !wanted || !f.replayable() || !f.mayRetry() {
		return 0, false
	}
	wait := f.wait(resp)
	f.host.Stats().RqError.Inc()
	f.countLimit(err)
	if resp != nil {
		if !f.uncoded() {
			f.counts.Retry.Inc(resp.Status)
		}
		resp.Body.Close(errRetrying)
		f.end(scope.Now())
		f.entry.Response = resp
		f.log()
		f.entry.Response = nil
		resp.Release()
	}
	return wait, true
}

// why finds out whether an attempt that failed was reset, and how. notReset says that the exchange is over whatever the policy: it
// was cancelled, its own request broke off, or there is no host.
func (f *flight) why(err error) reset {
	var own *protocol.BodyError
	switch {
	case scope.Cause(f.ctx) != nil, f.in.err != nil, err == errNoHost, errors.As(err, &own):
		return notReset
	case limit(err) != nil:
		return localReset
	}
	if why := classify(err); why != localReset {
		return why
	}
	return notReset // it could not be written the next time either
}

// limit returns which of the attempt's own timeouts err is, nil when it is none of them.
func limit(err error) *exchange.Error {
	for _, e := range []*exchange.Error{errPerTry, errPerTryIdle, errMaxStream} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}

// countLimit counts the attempt's own timeout that err is, if it is one.
func (f *flight) countLimit(err error) {
	switch limit(err) {
	case nil:
		return
	case errPerTry:
		f.counts.RqPerTryTimeout.Inc()
	case errPerTryIdle:
		f.counts.RqPerTryIdleTimeout.Inc()
	case errMaxStream:
		f.counts.RqMaxDurationReached.Inc()
		return
	}
	f.host.Stats().RqTimeout.Inc()
}

// maxRefreshed is how often an attempt whose stream was refused is made again at once. While an upstream restarts, the next connection
// may be one that goes away, too.
const maxRefreshed = 3

// maxMoved is the same for streams that a connection's graceful end left behind, of which the upstream took no notice. Connections that
// begin together end together where the upstream counts their requests, and a request may meet several of them.
const maxMoved = 8

// refreshes returns how often an attempt that failed with err, a refusal, may be made again at once.
func refreshes(err error) int {
	var ended *protocol.ResetError
	if errors.As(err, &ended) && ended.Refused && ended.Code == 0 { // NO_ERROR, of a GOAWAY
		return maxMoved
	}
	return maxRefreshed
}

// fresh reports whether the attempt failed only because its connection had been idle, and the peer closed it while the request was on
// its way, or because the peer takes no more streams on it: such a request goes out again at once, on another connection, whatever the
// policy says.
func (f *flight) fresh(why reset, err error) bool {
	switch {
	case f.informed.Load() || why.connecting():
		return false
	case why == refusedStream:
		return f.refreshed < refreshes(err) && f.replayable()
	case f.refreshed > 0 || !f.reused || !closedIdle(err):
		return false
	}
	return (nothingSent(err) || idempotent(f.x.Request.Method)) && f.replayable()
}

// closedIdle reports whether err is what a connection gives that the peer has closed before it sent anything.
func closedIdle(err error) bool {
	var broken *protocol.BrokenError
	if !errors.As(err, &broken) || broken.HeadSeen {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func nothingSent(err error) bool {
	var broken *protocol.BrokenError
	if errors.As(err, &broken) {
		return broken.NothingSent
	}
	var unfit *protocol.Error
	if errors.As(err, &unfit) {
		return unfit.NothingSent
	}
	var ended *protocol.ResetError
	return errors.As(err, &ended) && ended.Refused // what the peer has not looked at counts as not sent
}

// idempotent says that a request may be sent twice without its client asking for it (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// replayable reports whether the request's body can be sent from the beginning.
func (f *flight) replayable() bool {
	switch {
	case f.replay == nil:
		return !f.in.touched.Load()
	case f.in.over.Load():
		f.counts.RetryOrShadowAbandoned.Inc()
		return false
	}
	return true
}

// mayRetry takes a place of the retries that are left and of those that the cluster allows.
func (f *flight) mayRetry() bool {
	r := &f.retries
	if r.left <= 0 {
		f.counts.RqRetryLimitExceeded.Inc()
		f.each(classRetryLimit)
		f.x.Record.Flags |= observe.URX
		return false
	}
	r.left--
	if !f.cluster.Breaker(f.x.Route.Priority).Retries.Try() {
		f.counts.RqRetryOverflow.Inc()
		f.each(classRetryOverflow)
		f.x.Record.Flags |= observe.UO
		return false
	}
	r.holding = true
	if rand.Uint64N(100) >= f.r.runtime.Uint(keyUseRetry, 100) {
		f.letGo()
		return false
	}
	f.counts.RqRetry.Inc()
	f.each(classRetry)
	return true
}

// letGo gives back the place of the attempt that is over.
func (f *flight) letGo() {
	if f.retries.holding {
		f.retries.holding = false
		f.cluster.Breaker(f.x.Route.Priority).Retries.Done()
	}
}

// wait returns how long to wait before the next attempt.
func (f *flight) wait(resp *message.Response) time.Duration {
	if resp != nil {
		if d, ok := f.retries.rateLimited(&resp.Header); ok {
			f.counts.RqRetryBackoffRateLimited.Inc()
			return d
		}
	}
	f.counts.RqRetryBackoffExponential.Inc()
	return f.retries.backoff()
}

// pause waits before the next attempt and prepares the request for it.
func (f *flight) pause(wait time.Duration) error {
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.ctx.Done():
		}
	}
	if cause := scope.Cause(f.ctx); cause != nil {
		f.letGo()
		return cause
	}
	if f.replay != nil {
		if !f.replay.Rewind() {
			f.letGo()
			return errBodyTooLarge
		}
		f.in.begin(f.replay, f.in.limit)
	}
	h := &f.x.Request.Header
	if f.x.Route.IncludeAttempt.Request {
		setNumber(h, message.XEnvoyAttemptCount, int64(f.attempts+1))
	}
	if f.timeouts != (timeouts{}) {
		elapsed := time.Duration(0)
		if at := f.x.CompletedAt(); at != 0 {
			elapsed = time.Duration(scope.Now() - at)
		}
		f.expect(elapsed)
	}
	return nil
}
