package dispatch

import (
	"strings"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/route"
)

// notMatched is the route of an exchange that was answered before routing. Immutable.
var notMatched = route.NotFound()

// admit checks and normalizes what the request is addressed to, before anything looks at it.
func (d *Dispatcher) admit(t *stream) (*message.Response, error) {
	x := &t.x
	r := x.Request
	if r.Authority == "" {
		return nil, errMissingHost
	}
	connect := r.Upgrade == "connect"
	r.Authority = d.cfg.host.apply(r.Authority, x.Conn, connect)
	if connect || r.Path == "*" && r.Method == "OPTIONS" {
		return nil, nil
	}
	if r.Path == "" {
		return nil, errMissingPath
	}
	if r.Path[0] != '/' {
		t.stats.RqNonRelativePath.Inc()
		return nil, errAbsolutePath
	}
	path, v := d.cfg.path.apply(r.Path)
	switch v {
	case reject:
		t.stats.RqFailedNormalize.Inc()
		return nil, errNormalization
	case redirect:
		t.stats.RqRedirectNormalize.Inc()
		resp := x.Answer(307, "", nil)
		x.Record.Details = "path_normalization_failed"
		resp.Header.AddKnown(message.Location, path)
		return resp, nil
	}
	r.Path = path
	return nil, nil
}

// allowUpgrade refuses tunnels that neither the route nor the connection manager allows.
func (d *Dispatcher) allowUpgrade(t *stream) error {
	x := &t.x
	kind := x.Request.Upgrade
	if kind == "" {
		return nil
	}
	allowed, set := x.Route.Upgrades[kind]
	if !set {
		allowed = d.cfg.Upgrades[kind]
	}
	if allowed {
		return nil
	}
	if kind == "websocket" {
		t.stats.RqWSOnNonWS.Inc()
	}
	if x.Route.Target == nil {
		return nil // not found, redirects and direct answers are given whatever the request wants to become
	}
	return errUpgrade
}

// refusal is what a message that could not be decoded is answered with.
func refusal(p *protocol.Error) *exchange.Error {
	e := &exchange.Error{Stage: exchange.Decode, Side: exchange.Downstream, Status: p.Status, Details: p.Details, Cause: p}
	switch p.Status {
	case 400, 501, 505:
		e.Flag = observe.DPE
		e.Body = strings.Clone(statusBody[p.Status])
	case 408:
		e.Body = "request headers timeout"
	}
	return e
}

// statusBody is what Envoy's codec says to a broken message. Immutable.
var statusBody = map[int]string{400: "Bad Request"}

func (d *Dispatcher) countRefusal(t *stream, p *protocol.Error) {
	st := t.stats
	if p.Stat == "requests_rejected_with_underscores_in_headers" && t.s.Version() != protocol.HTTP2 { // HTTP/2 counts its own
		d.codec.RejectedUnderscore.Inc()
	}
	switch p.Status {
	case 431:
		st.RqTooLarge.Inc()
	case 408:
		st.RqHeaderTimeout.Inc()
	}
}
