package forward

import (
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport/tls"
	"github.com/weftproxy/weft/upstream/pool"
)

// A reset is why an attempt ended without a response: Envoy's StreamResetReason.
type reset uint8

const (
	notReset reset = iota
	localConnectionFailure
	remoteConnectionFailure
	connectionTimeout
	connectionTermination
	localReset // a per-try timeout
	remoteReset
	refusedStream
	overflow
	protocolError
)

// resetNames are the reasons as Envoy's local replies word them. Immutable.
var resetNames = [...]string{"", "local connection failure", "remote connection failure", "connection timeout", "connection termination",
	"local reset", "remote reset", "remote refused stream reset", "overflow", "protocol error"}

// flag returns the response flag of a reset.
func (r reset) flag() observe.Flag {
	switch r {
	case localConnectionFailure, remoteConnectionFailure, connectionTimeout:
		return observe.UF
	case connectionTermination:
		return observe.UC
	case localReset:
		return observe.LR
	case remoteReset, refusedStream:
		return observe.UR
	case overflow:
		return observe.UO
	case protocolError:
		return observe.UPE
	}
	return 0
}

// connecting reports whether the attempt failed before there was a connection.
func (r reset) connecting() bool {
	return r == localConnectionFailure || r == remoteConnectionFailure || r == connectionTimeout
}

// classify finds out what err, of Acquire, RoundTrip or a response body, says about the upstream.
func classify(err error) reset {
	var p *pool.Error
	if errors.As(err, &p) {
		switch p.Kind {
		case pool.Overflow:
			return overflow
		case pool.LocalFailure:
			return localConnectionFailure
		case pool.RemoteFailure:
			return remoteConnectionFailure
		case pool.Timeout:
			return connectionTimeout
		}
		return connectionTermination
	}
	var ended *protocol.ResetError
	if errors.As(err, &ended) {
		if ended.Refused {
			return refusedStream
		}
		return remoteReset
	}
	var broken *protocol.Error
	if errors.As(err, &broken) {
		if broken.NothingSent {
			return localReset // the request cannot be written
		}
		return protocolError
	}
	return connectionTermination
}

// transportReason is what the transport says about a connection that could not be made, or that ended with an alert of TLS, "" when it
// says nothing.
func transportReason(r reset, err error) string {
	var p *pool.Error
	if errors.As(err, &p) && p.Reason != "" && r == remoteConnectionFailure {
		return p.Reason
	}
	var alert *net.OpError
	if (r == connectionTermination || r == remoteConnectionFailure) && errors.As(err, &alert) && alert.Op == pool.TLSAlert {
		return tls.Reason(err)
	}
	var errno syscall.Errno
	if r != remoteConnectionFailure && r != localConnectionFailure || !errors.As(err, &errno) {
		return ""
	}
	text := errno.Error()
	return "delayed connect error: " + strings.ToUpper(text[:1]) + text[1:]
}

// failed is the error of an exchange whose last attempt was reset before the response began.
func failed(r reset, stage exchange.Stage, retried bool, err error) *exchange.Error {
	reason := transportReason(r, err)
	body := "upstream connect error or disconnect/reset before headers. "
	if retried {
		body += "retried and the latest "
	}
	body += "reset reason: " + resetNames[r]
	details := "upstream_reset_before_response_started{" + resetNames[r]
	if reason != "" {
		body += ", transport failure reason: " + reason
		details += "|" + reason
	}
	e := &exchange.Error{Stage: stage, Side: exchange.Upstream, Flag: r.flag(), Status: 503, Body: body, Cause: err,
		Details: strings.ReplaceAll(details+"}", " ", "_"), Retry: exchange.IfPolicySays, Reset: resetNames[r]}
	switch {
	case r == protocolError:
		e.Status = 502
	case r == overflow:
		e.Side, e.Retry = exchange.Local, exchange.Never
	case r.connecting():
		e.Retry = exchange.NothingSent
	}
	return e
}

// noCluster is the error of an exchange whose cluster does not exist, with the status that the route gives it; 0 is 503.
func noCluster(status int) *exchange.Error {
	if status == 0 || status == errNoCluster.Status {
		return errNoCluster
	}
	e := *errNoCluster
	e.Status = status
	return &e
}

// brokenOff is the error of a response that ended in the middle. Its status and text are for a downstream that has seen nothing
// of it yet.
func brokenOff(r reset, err error) *exchange.Error {
	e := failed(r, exchange.Respond, false, err)
	e.Details = "upstream_reset_after_response_started{" + strings.ReplaceAll(resetNames[r], " ", "_") + "}"
	e.Retry, e.Reset = exchange.Never, ""
	return e
}

// shed is the error of an exchange that the control plane wants to be refused, be it one of some or all of them.
func (f *flight) shed(all bool) error {
	e := errDropped
	if all {
		e = errAllDropped
	}
	f.charge(e.Status, false)
	if !f.r.suppress {
		return e
	}
	bare := *e
	bare.Says = ""
	return &bare
}

// What an exchange fails with where no attempt is at fault. Statuses, texts, flags and details are Envoy's. Immutable.
var (
	errNoRoute   = &exchange.Error{Stage: exchange.Routing, Side: exchange.Local, Flag: observe.NR, Status: 404, Details: "route_not_found"}
	errNoCluster = &exchange.Error{Stage: exchange.Pick, Side: exchange.Local, Flag: observe.NC, Status: 503, Details: "cluster_not_found"}
	errNoHost    = &exchange.Error{Stage: exchange.Pick, Side: exchange.Upstream, Flag: observe.UH, Status: 503, Body: "no healthy upstream",
		Details: "no_healthy_upstream"}
	errDropped = &exchange.Error{Stage: exchange.Pick, Side: exchange.Local, Flag: observe.DO, Status: 503, Body: "drop overload",
		Details: "drop_overload", Says: "x-envoy-drop-overload"}
	errAllDropped = &exchange.Error{Stage: exchange.Pick, Side: exchange.Local, Flag: observe.UDO, Status: 503, Body: "unconditional drop overload",
		Details: "unconditional_drop_overload", Says: "x-envoy-unconditional-drop-overload"}
	errPerTry = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Flag: observe.UT, Status: 504, Body: "upstream request timeout",
		Details: "upstream_per_try_timeout"}
	errPerTryIdle = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Flag: observe.UT, Status: 504, Body: "upstream request timeout",
		Details: "upstream_per_try_idle_timeout"}
	errMaxStream = &exchange.Error{Stage: exchange.Receive, Side: exchange.Upstream, Flag: observe.UMSDR, Status: 504,
		Body: "upstream max stream duration reached", Details: "upstream_max_stream_duration_reached"}
	errBodyTooLarge = &exchange.Error{Stage: exchange.Send, Side: exchange.Local, Status: 507, Body: "exceeded request buffer limit while retrying upstream",
		Details: "request_payload_exceeded_retry_buffer_limit"}
	errRetrying = errors.New("forward: the attempt is retried")
)
