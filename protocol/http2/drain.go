package http2

import (
	"context"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// alarmLull says that the last stream has ended.
const alarmLull = 1 << 20

// drainPing is what the PING holds whose answer says that the peer has seen the first GOAWAY.
var drainPing = [8]byte{'w', 'e', 'f', 't', 'd', 'r', 'a', 'i'} // immutable

// idle starts the idle timeout.
func (v *serving) idle() {
	if d := v.s.o.IdleTimeout; d > 0 {
		v.alarm.Arm(scope.Idle, scope.Now()+int64(d))
	}
}

// lull tells the reader that there is no stream left. mu is held.
func (v *serving) lull() {
	if v.closing {
		v.rouse(alarmLull)
		return
	}
	v.alarm.Arm(scope.Idle, scope.Now()+int64(v.s.o.IdleTimeout))
}

// rung implements side.
func (v *serving) rung(bits uint32) error {
	due := func(d scope.Due) bool { return bits&(1<<d) != 0 }
	if bits&(alarmDead|alarmVerdict) != 0 {
		if err := v.sentence(); err != nil {
			return err
		}
	}
	if due(scope.Headers) {
		return protocol.ErrHeadersTimeout
	}
	v.mu.Lock()
	active := v.active
	v.mu.Unlock()
	if due(scope.Idle) && active == 0 {
		return protocol.ErrIdleTimeout
	}
	if due(scope.Stream) {
		v.drain(protocol.ErrMaxDuration)
	}
	if v.c.Draining() {
		v.drain(conn.ErrDraining)
	} else if bits&alarmDrain != 0 {
		v.drain(nil)
	}
	if due(scope.TryIdle) {
		v.trim()
	}
	if due(scope.Try) {
		v.drainLast()
	}
	if v.drained == drainFinal && active == 0 {
		return errAlarm
	}
	return v.pings.rung(due(scope.Request), due(scope.Response))
}

// drain begins the end of the connection: the client is told to open no more streams, and those that were on their way are still served
// (RFC 9113 section 6.8).
func (v *serving) drain(why error) {
	if v.drained != drainNot {
		return
	}
	v.drained, v.why = drainAsked, why
	v.mu.Lock()
	defer v.mu.Unlock()
	v.goAway(maxStreamID, CodeNo)
	b := appendFrame(v.put(frameHead+8), framePing, 0, 0, 8)
	v.set(append(b, drainPing[:]...), 1)
	v.alarm.Arm(scope.Try, scope.Now()+int64(v.s.o.DrainTime))
}

// drainLast tells the client which stream was the last.
func (v *serving) drainLast() {
	if v.drained != drainAsked {
		return
	}
	v.drained = drainFinal
	v.alarm.Extend(scope.Try, 0)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closing, v.final = true, v.lastID
	v.goAway(v.lastID, CodeNo)
}

// last returns what a GOAWAY may say: no more than an earlier one did (RFC 9113 section 6.8). mu is held.
func (v *serving) last() uint32 {
	if v.closing {
		return v.final
	}
	return v.lastID
}

// pong implements side.
func (v *serving) pong(p []byte) error {
	if string(p) != string(drainPing[:]) {
		v.pings.pong(p)
		return nil
	}
	v.drainLast()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.drained == drainFinal && v.active == 0 {
		return errAlarm
	}
	return nil
}

// reason returns why the connection was drained.
func (v *serving) reason() error {
	if cause := context.Cause(v.ctx); cause != nil {
		return cause
	}
	return v.why
}
