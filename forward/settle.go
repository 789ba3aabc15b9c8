package forward

import (
	"errors"
	"net/http"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// settle ends the walk with the last attempt's response, or with the error of the exchange.
func (f *flight) settle(resp *message.Response, err error) (*message.Response, error) {
	if err == nil {
		return f.respond(resp), nil
	}
	err = f.fail(err)
	f.release()
	return nil, err
}

// release gives the request back: what is left of its body is the connection's business again, attempts that are over having
// paused it, and what was recorded of it is forgotten.
func (f *flight) release() {
	if f.replay == nil {
		return
	}
	if p, ok := f.source.(message.Pauser); ok {
		p.Resume()
	}
	f.replay.Reset(nil, 0)
	f.replay = nil
	f.x.Request.Body = f.source
}

// respond passes the upstream's response on.
func (f *flight) respond(resp *message.Response) *message.Response {
	x := f.x
	h := &resp.Header
	if at := x.CompletedAt(); at != 0 && !f.r.suppress {
		setNumber(h, message.XEnvoyUpstreamServiceTime, max(x.Record.UpstreamFirst-at, 0)/int64(time.Millisecond))
	}
	f.charge(resp.Status, f.canary(h))
	bodyless := resp.Length == 0 || x.Request.Method == http.MethodHead || resp.Status == http.StatusNoContent || resp.Status == http.StatusNotModified
	f.credit(resp, bodyless)
	x.Record.Details = "via_upstream"
	if x.Route.IncludeAttempt.Response {
		setNumber(h, message.XEnvoyAttemptCount, int64(f.attempts))
	}
	f.entry.Response = resp
	x.Route.RewriteResponse(h, &f.entry, x.Weighted)
	if resp.Tunnel {
		x.LimitResponse(0)
	}
	f.out.begin(resp.Body)
	resp.Body = &f.out
	if bodyless {
		f.complete(x.Record.UpstreamFirst) // nobody will read a body to its end
	}
	return resp
}

// fail says what the exchange fails with when its last attempt did.
func (f *flight) fail(err error) error {
	if cause := scope.Cause(f.ctx); cause != nil {
		return f.cancelled(cause)
	}
	var own *protocol.BodyError
	switch {
	case errors.As(err, &own):
		return requestBroken(own.Cause)
	case f.in.err != nil:
		return requestBroken(f.in.err)
	}
	switch {
	case err == errNoHost:
		f.charge(errNoHost.Status, false)
		return errNoHost
	case err == errBodyTooLarge:
		return errBodyTooLarge
	}
	if e := limit(err); e != nil {
		f.countLimit(err)
		return f.timedOut(e)
	}
	why := classify(err)
	if why == protocolError {
		f.counts.CxProtocolError.Inc()
	}
	stage := exchange.Receive
	switch {
	case why.connecting(), why == overflow:
		stage = exchange.Acquire
	case nothingSent(err):
		stage = exchange.Send
	}
	e := failed(why, stage, f.attempts > 1, err)
	e.Overloaded = why == overflow && !f.r.suppress
	if text := transportReason(why, err); text != "" {
		f.x.Record.UpstreamFailure = text
	}
	f.charge(e.Status, false)
	return e
}

// cancelled says what the exchange fails with that was cancelled from outside.
func (f *flight) cancelled(cause error) error {
	if f.started && f.host != nil {
		f.counts.RqTxReset.Inc()
	}
	if flag, details, ok := exchange.Departed(cause); ok {
		return &exchange.Error{Stage: f.x.Stage(), Side: exchange.Downstream, Flag: flag, Details: details, Cause: cause}
	}
	var e *exchange.Error
	switch {
	case errors.As(cause, &e) && e.Flag&observe.UT != 0:
		f.counts.RqTimeout.Inc()
		f.each(classTimeout)
		if f.host != nil {
			f.host.Stats().RqTimeout.Inc()
		}
		return f.timedOut(e)
	}
	return cause
}

// timedOut counts the answer to a timeout. e says which; the answer is 204 if the client asked for that.
func (f *flight) timedOut(e *exchange.Error) error {
	if e == errMaxStream && !f.x.Complete() {
		early := *e
		early.Status = http.StatusRequestTimeout
		e = &early
	}
	if f.orders.alternative && e.Flag&observe.UT != 0 {
		quiet := *e
		quiet.Status, quiet.Body = http.StatusNoContent, ""
		e = &quiet
	}
	f.charge(e.Status, false)
	if f.host != nil && e.Status/100 != 5 {
		f.host.Stats().RqError.Inc()
	}
	return e
}

// requestBroken says what the exchange fails with whose request did not come to its end.
func requestBroken(err error) error {
	var broken *protocol.Error
	if errors.As(err, &broken) {
		return &exchange.Error{Stage: exchange.Send, Side: exchange.Downstream, Flag: observe.DPE, Status: broken.Status,
			Details: broken.Details, Cause: err}
	}
	var e *exchange.Error
	if errors.As(err, &e) {
		return e
	}
	flag, details, ok := exchange.Departed(err)
	if !ok {
		flag, details, _ = exchange.Departed(protocol.ErrPeerGone)
	}
	return &exchange.Error{Stage: exchange.Send, Side: exchange.Downstream, Flag: flag, Details: details, Cause: err}
}

// charge counts a response, Weft's own ones included, by its status.
func (f *flight) charge(status int, canary bool) {
	if f.host != nil && status/100 == 5 {
		f.host.Stats().RqError.Inc()
	}
	if !f.r.dynamic || f.x.Record.HealthCheck {
		return
	}
	f.counts.RqCompleted.Inc()
	for _, c := range f.classes {
		if c != nil {
			c.RqCompleted.Inc()
		}
	}
	if f.uncoded() {
		return
	}
	f.counts.Codes.Inc(status)
	if f.x.Record.Internal {
		f.counts.Internal.Codes.Inc(status)
	} else {
		f.counts.External.Codes.Inc(status)
	}
	if canary {
		f.counts.Canary.Codes.Inc(status)
	}
	for _, c := range f.classes {
		if c != nil {
			c.Codes.Inc(status)
		}
	}
}

// canary reports whether the response came from a canary.
func (f *flight) canary(h *message.Header) bool {
	return f.host.Canary() || h.Known(message.XEnvoyUpstreamCanary) == "true"
}

// complete counts the end of a response.
func (f *flight) complete(now int64) {
	if !f.active {
		return
	}
	f.end(now)
	at := f.x.CompletedAt()
	if at == 0 || !f.r.dynamic || f.x.Record.HealthCheck {
		return
	}
	ms := uint64(max(now-at, 0)) / uint64(time.Millisecond)
	f.counts.RqTime.Record(ms)
	for _, c := range f.classes {
		if c != nil {
			c.RqTime.Record(ms)
		}
	}
	if f.x.Record.Internal {
		f.counts.Internal.RqTime.Record(ms)
	} else {
		f.counts.External.RqTime.Record(ms)
	}
}
