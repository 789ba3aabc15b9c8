package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

// keptResets is how many streams that Weft has reset are remembered: what the peer had sent before it knew is ignored.
const keptResets = 256

// A serving is one call of Serve.
type serving struct {
	mux
	r   reader
	s   *Server
	ctx context.Context
	h   protocol.StreamHandler

	running sync.WaitGroup // handlers

	// Of the reader's goroutine.
	lastID  uint32
	streams uint64 // ever opened
	pings   keepalive
	drained int   // how far the end of the connection is
	why     error // of the drain; nil: a handler asked
	early   int   // streams reset early

	// Guarded by mu.
	crew     crew
	held     int           // bytes of header sections that handlers hold
	active   int           // streams that are open
	handlers int           // that have not returned; those of reset streams included
	caughtUp chan struct{} // closed when few handlers of reset streams are left; nil unless the reader waits for that
	closing  bool
	resets   []uint32 // streams that Weft has reset
	final    uint32   // the last stream, as the last GOAWAY says
}

// How far the end of a connection is.
const (
	drainNot   = iota
	drainAsked // the first GOAWAY is sent
	drainFinal // the last GOAWAY is sent
)

// Serve implements protocol.Server. It returns io.EOF when the client closed the connection, conn.ErrDraining or one of protocol's errors
// when Weft did.
func (s *Server) Serve(ctx context.Context, c *conn.Conn, h protocol.StreamHandler) error {
	v := &serving{s: s, ctx: ctx, h: h}
	v.begin(c, &s.o.Options, false)
	v.headTimeout = s.o.HeadersTimeout
	v.r = reader{m: &v.mux, side: v}
	v.r.dec.Init(s.o.TableSize)
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { v.kill(context.Cause(ctx)) })()
	}
	defer v.alarm.Close()
	err := v.serve()
	return v.end(err)
}

// serve reads until there is nothing more to read.
func (v *serving) serve() error {
	v.mu.Lock()
	v.greet("", v.announce())
	v.mu.Unlock()
	if !v.c.SetTold() { // an HTTP/2 connection can always be told to drain
		v.rouse(alarmDrain)
	}
	v.idle()
	if d := v.s.o.MaxDuration; d > 0 {
		v.alarm.Arm(scope.Stream, scope.Now()+int64(d-time.Since(v.c.Info().Began)))
	}
	v.pings.begin(&v.mux)
	if err := v.preface(); err != nil {
		return err
	}
	return v.r.run()
}

// announce returns the settings of a server.
func (v *serving) announce() []byte {
	b := appendSetting(v.settings(), settingMaxStreams, v.o.MaxStreams)
	if v.o.AllowConnect {
		b = appendSetting(b, settingConnect, 1)
	}
	return b
}

// preface reads the client's. A peer that speaks something else is told off as soon as that is clear.
func (v *serving) preface() error {
	for n := 1; n <= len(preface); n++ {
		if err := v.r.need(n); err != nil {
			return err
		}
		n = min(len(v.c.Buffered()), len(preface))
		if string(v.c.Buffered()[:n]) != preface[:n] {
			return errPreface
		}
	}
	v.c.Discard(len(preface))
	return nil
}

// end closes the connection in good order, as far as that is possible, and waits for everything that belongs to it.
func (v *serving) end(err error) error {
	var fault *connError
	v.mu.Lock()
	active := v.active
	switch {
	case errors.As(err, &fault):
		if fault == errMessaging {
			v.stats.RxMessagingError.Inc()
		}
		v.goAway(v.last(), fault.code)
	case err == protocol.ErrIdleTimeout, err == protocol.ErrHeadersTimeout, err == errKeepalive:
		v.goAway(v.last(), CodeNo)
	}
	v.mu.Unlock()
	gone := remote(err)
	if fault != nil {
		v.cancelAll(err) // whoever breaks the rules is not worked for while the connection is brought to its end
	}
	if !gone {
		v.parting()
	}
	why := err
	if gone {
		why = protocol.ErrPeerGone
	}
	v.kill(why)
	v.cancelAll(why)
	v.mu.Lock()
	v.crew.dismissAll()
	v.mu.Unlock()
	v.running.Wait()
	v.c.Wake(why) // the reader may have revived it meanwhile
	v.awaitFlusher()
	if active > 0 && why == protocol.ErrPeerGone {
		return why
	}
	if v.drained == drainFinal && (gone || err == errAlarm) {
		return v.reason()
	}
	return err
}

// After the last frame so many bytes are still read from a peer that goes on sending; from then on it is left to fill its window for a while,
// so that it can read what it was told.
const (
	partingMost = 64 << 10
	partingTime = 100 * time.Millisecond
)

// parting gives the flusher a moment to write what is queued, and the peer one to read it: a close with unread input would reset the
// connection (RFC 9113 section 9.1 leaves that to TCP).
func (v *serving) parting() {
	c := v.c
	c.Revive()
	c.Limit(max(v.s.o.DelayedClose, time.Second))
	v.awaitFlusher()
	if v.s.o.DelayedClose > 0 && c.CloseWrite() == nil {
		c.Discard(len(c.Buffered()))
		b := conn.GetBuffer(conn.SmallBuffer)
		defer conn.PutBuffer(b)
		for total := 0; ; {
			n, err := c.ReadInto(b, false)
			if err != nil {
				return
			}
			if total += n; total > partingMost {
				break
			}
		}
		time.Sleep(partingTime)
	}
}

// cancelAll cancels every exchange.
func (v *serving) cancelAll(why error) {
	v.mu.Lock()
	var all []*stream
	for _, s := range v.table.all() {
		s.pins++
		all = append(all, s)
	}
	v.mu.Unlock()
	for _, s := range all {
		s.srv.scope.Cancel(why)
		s.unpin()
	}
}

// head implements side: a new request, or trailers.
func (v *serving) head(f frame, block []byte) error {
	if f.id > v.lastID {
		if f.id&1 == 0 {
			return errStreamID
		}
		return v.open(f, block)
	}
	v.mu.Lock()
	s := v.table.find(f.id)
	if s != nil {
		s.pins++
	}
	v.mu.Unlock()
	if s != nil {
		err := v.trailers(s, f, block)
		s.unpin()
		return err
	}
	if f.id&1 == 0 {
		return errStreamID
	}
	return v.late(f, block)
}

// late decodes a section that came for a stream that is closed.
func (v *serving) late(f frame, block []byte) error {
	v.stats.HeadersCbNoStream.Inc()
	if !v.wasReset(f.id) {
		return errClosed
	}
	return v.drop(block)
}

// drop decodes a section for the sake of the table.
func (v *serving) drop(block []byte) error {
	v.r.dec.Begin(block)
	if _, err := v.r.dec.Skip(); err != nil {
		return errCompression
	}
	return nil
}

// open begins a stream.
func (v *serving) open(f frame, block []byte) error {
	v.lastID = f.id
	v.streams++
	if v.drained == drainFinal {
		v.mu.Lock()
		v.remember(f.id)
		v.mu.Unlock()
		return v.drop(block) // RFC 9113 section 6.8: after the last GOAWAY they are ignored
	}
	st := v.s.stream(v)
	under := v.s.o.Underscores
	if err := v.r.section(&st.req.Header, block, under, &st.head); err != nil {
		st.release()
		return err
	}
	q := &st.head
	if q.bad == nil {
		q.bad = q.request(&st.req, v.c.Info().TLS != nil, v.o.AllowConnect)
	}
	if q.bad == nil && f.flags&flagEndStream != 0 && q.length > 0 {
		q.bad = errLengthBody
	}
	if q.dropped > 0 {
		v.stats.DroppedUnderscores.Add(uint64(q.dropped))
	}
	st.counts.RequestHead = uint64(len(block) + frameHead)
	if !v.hold(st) {
		v.stats.StreamRefusedErrors.Inc()
		st.release()
		return v.resetClosed(f.id, CodeRefused)
	}
	if q.bad != nil {
		return v.malformed(st, f)
	}
	v.launch(st, f)
	return nil
}

// heldMost is how many bytes of header sections the streams of a connection may hold, unless single sections may be larger: limits on each do
// not bound what a hundred stalled ones take.
const heldMost = 1 << 20

// hold charges the connection for a request's header section, and reports whether there is room for it and for one more stream.
func (v *serving) hold(st *serverStream) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	size := st.head.size
	if v.active >= int(v.o.MaxStreams) || v.handlers >= 2*int(v.o.MaxStreams) {
		return false
	}
	if v.held > 0 && v.held+size > max(heldMost, 4*v.o.MaxHeaderBytes) {
		return false
	}
	v.held += size
	return true
}

// resetClosed resets a stream that is not in the table.
func (v *serving) resetClosed(id uint32, code Code) error {
	v.mu.Lock()
	v.remember(id)
	err := v.resetStream(id, code)
	v.mu.Unlock()
	if err != nil {
		return err
	}
	return v.countEarly()
}

// malformed answers a request that is not well-formed, and then resets its stream or ends the connection.
func (v *serving) malformed(st *serverStream, f frame) error {
	q := &st.head
	st.refused = q.bad
	if q.bad == errUnderscore {
		v.stats.RejectedUnderscores.Inc()
	}
	fatal := false
	if q.bad.Status == 400 && q.bad != errUnderscore {
		fatal = !v.o.StreamErrors
		v.stats.RxMessagingError.Inc()
	}
	if !fatal {
		v.launch(st, f)
		return v.countEarly()
	}
	answered := make(chan struct{})
	st.answered = answered
	v.launch(st, f)
	late := time.NewTimer(max(v.s.o.DelayedClose, time.Second))
	defer late.Stop()
	select {
	case <-answered:
	case <-late.C:
	}
	return errMessaging
}

// launch starts the handler of a stream.
func (v *serving) launch(st *serverStream, f frame) {
	end := f.flags&flagEndStream != 0
	st.srv = st
	st.prepare(end)
	if end {
		st.endedAt = st.began
	}
	v.mu.Lock()
	st.stream.start(&v.mux, f.id)
	st.left, st.ended = st.head.length, end
	v.active++
	v.handlers++
	idle := v.active == 1
	w := v.crew.pop()
	v.mu.Unlock()
	if idle {
		v.alarm.Extend(scope.Idle, 0)
	}
	if most := v.s.o.MaxRequests; most > 0 && v.streams >= uint64(most) {
		v.drain(protocol.ErrMaxRequests)
	}
	if w != nil {
		w.next <- st
		return
	}
	v.running.Add(1)
	v.watchCrew()
	go v.work(st) // ends when the handler has returned and the worker is not needed
}

// trailers takes a second section of a stream that is open.
func (v *serving) trailers(s *stream, f frame, block []byte) error {
	var q fieldSet
	v.mu.Lock()
	ended, over := s.ended, s.ended && s.sent && !s.cutOff
	v.mu.Unlock()
	if over { // both sides have ended it, and only the handler has not returned yet
		v.stats.HeadersCbNoStream.Inc()
		return errClosed
	}
	if ended {
		if err := v.drop(block); err != nil {
			return err
		}
		return v.cut(s, CodeStreamClosed, errHalfClosed)
	}
	err := v.r.section(&s.trailer, block, v.s.o.Underscores, &q) // nobody looks at it before END_STREAM is noted
	switch {
	case err != nil:
		return err
	case q.bad != nil && q.bad.Status == 431:
		return v.cut(s, CodeCalm, q.bad)
	case q.trailers() != nil || f.flags&flagEndStream == 0:
		return v.fault(s, CodeProtocol, errTrailers)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.left > 0 {
		v.mu.Unlock()
		err = v.fault(s, CodeProtocol, errLengthBody)
		v.mu.Lock()
		return err
	}
	s.trailed = true
	s.gotWire += uint64(len(block) + frameHead)
	s.finished()
	v.ended(s)
	return nil
}

// fault is cut for messages that are malformed: they end the connection unless Weft is to be lenient.
func (v *serving) fault(s *stream, code Code, why error) error {
	v.stats.RxMessagingError.Inc()
	if !v.o.StreamErrors {
		return errMessaging
	}
	return v.cut(s, code, why)
}

// cut implements side. The stream is pinned.
func (v *serving) cut(s *stream, code Code, why error) error {
	if why == errLengthBody && !v.o.StreamErrors {
		v.stats.RxMessagingError.Inc()
		return errMessaging
	}
	v.mu.Lock()
	s.breakOff(why)
	v.over(s)
	s.leave()
	err := v.resetStream(s.id, code)
	s.cutOff = true
	v.remember(s.id)
	v.mu.Unlock()
	s.srv.scope.Cancel(why)
	if err != nil {
		return err
	}
	return v.countEarly()
}

// reset implements side. The stream is pinned.
func (v *serving) reset(s *stream, code Code) error {
	why := resetBy(code)
	v.mu.Lock()
	s.breakOff(why)
	v.over(s)
	s.leave()
	s.cutOff = true
	early := v.r.now-s.srv.began < int64(v.s.o.ResetAge)
	v.mu.Unlock()
	s.srv.scope.Cancel(why)
	if early {
		return v.countEarly()
	}
	return nil
}

// countEarly counts a stream that was reset, or made Weft reset it, soon after its beginning. A connection of which most streams end like that
// is an attack (CVE-2023-44487, CVE-2025-8671).
func (v *serving) countEarly() error {
	v.early++
	most := v.s.o.ResetCount
	if most < 0 || v.early*2 <= max(most, int(v.streams)) {
		v.catchUp()
		return nil
	}
	if v.s.o.TooManyResets != nil {
		v.s.o.TooManyResets()
	}
	return errResetFlood
}

// Of streams that were reset, so many may still have a handler at work before the reader waits for some to return, and no longer than this.
const (
	mostLeftovers = 8
	catchUpTime   = 100 * time.Millisecond
)

// catchUp makes the reader wait until the handlers of streams that were reset have returned: a client that opens and resets streams faster than
// they end would otherwise fill the scheduler's queue, and everybody else's requests would wait behind them.
func (v *serving) catchUp() {
	v.mu.Lock()
	if v.handlers-v.active <= mostLeftovers {
		v.mu.Unlock()
		return
	}
	done := make(chan struct{})
	v.caughtUp = done
	v.mu.Unlock()
	late := time.NewTimer(catchUpTime)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// returned counts a handler that has returned. mu is held.
func (v *serving) returned() {
	v.handlers--
	if v.caughtUp != nil && v.handlers-v.active <= mostLeftovers/2 {
		close(v.caughtUp)
		v.caughtUp = nil
	}
}

// remember notes that Weft has reset a stream. mu is held.
func (v *serving) remember(id uint32) {
	if len(v.resets) < keptResets {
		v.resets = append(v.resets, id)
		return
	}
	v.resets[id>>1%keptResets] = id
}

func (v *serving) wasReset(id uint32) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.resets {
		if r == id {
			return true
		}
	}
	return false
}

func (v *serving) fresh(id uint32) bool { return id > v.lastID || id&1 == 0 }

func (v *serving) opened() uint64 { return v.streams }

// strayed implements side: data for a stream that is closed.
func (v *serving) strayed(f frame) error {
	if v.wasReset(f.id) {
		return nil
	}
	return v.resetClosed(f.id, CodeStreamClosed)
}

// ended implements side. mu is held.
func (v *serving) ended(s *stream) {
	s.srv.endedAt = v.r.now
	if s.sent {
		v.over(s)
	}
}

// over counts the end of a stream, once. mu is held.
func (v *serving) over(s *stream) {
	if s.srv.over {
		return
	}
	s.srv.over = true
	if v.active--; v.active > 0 {
		return
	}
	if v.closing || v.s.o.IdleTimeout > 0 {
		v.lull()
	}
}

// goneAway implements side: the client will open no more streams, which it need not say.
func (v *serving) goneAway(uint32, Code) error { return nil }

func (v *serving) resized() {}

// remote reports whether err says that the peer went away.
func remote(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &op)
}
