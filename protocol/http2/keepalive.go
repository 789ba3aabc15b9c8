package http2

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// A keepalive sends PING at intervals and ends the connection whose peer does not answer (connection_keepalive). It belongs to the reader.
type keepalive struct {
	m     *mux
	count uint64 // of pings sent
	await bool
}

// begin starts the pings, if there are to be any.
func (k *keepalive) begin(m *mux) {
	k.m = m
	k.next()
}

// next arms the next ping.
func (k *keepalive) next() {
	o := k.m.o
	if o.PingInterval <= 0 {
		return
	}
	d := o.PingInterval
	if o.PingJitter > 0 {
		d += time.Duration(float64(d) * o.PingJitter / 100 * rand.Float64())
	}
	k.m.alarm.Arm(scope.Request, scope.Now()+int64(d))
}

// rung handles the two deadlines: time for a ping, and no answer.
func (k *keepalive) rung(due, late bool) error {
	if late && k.await {
		k.m.stats.KeepaliveTimeout.Inc()
		return errKeepalive
	}
	if due {
		k.ping()
	}
	return nil
}

// ping sends a PING unless one is under way.
func (k *keepalive) ping() {
	if k.await {
		return
	}
	k.await = true
	k.count++
	m := k.m
	m.mu.Lock()
	b := appendFrame(m.put(frameHead+8), framePing, 0, 0, 8)
	m.set(binary.BigEndian.AppendUint64(b, k.count), 1)
	m.mu.Unlock()
	m.alarm.Arm(scope.Response, scope.Now()+int64(m.o.PingTimeout))
}

// pong takes the answer.
func (k *keepalive) pong(p []byte) {
	if !k.await || binary.BigEndian.Uint64(p) != k.count {
		return
	}
	k.await = false
	k.m.alarm.Extend(scope.Response, 0)
	k.next()
}
