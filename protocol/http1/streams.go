package http1

import (
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
)

// stream takes a stream from the pool for a request of v.
func (s *Server) stream(v *serving) *stream {
	st, _ := s.streams.Get().(*stream)
	if st == nil {
		st = &stream{}
	}
	st.v = v
	st.head.version = protocol.HTTP11
	st.head.secure = v.c.Info().TLS != nil
	st.w.c, st.w.names = v.c, s.o.HeaderCase
	return st
}

// release gives the stream and all that it holds back. Borrowed strings of its request are dead.
func (st *stream) release() {
	s := st.v.s
	st.body.release()
	st.w.release()
	st.scan.reset()
	h := st.req.Header
	h.Reset()
	if h.Cap() > maxKept {
		h = message.Header{}
	}
	st.req = message.Request{Header: h}
	st.head = requestHead{}
	st.counts = protocol.Counts{}
	st.v, st.owner, st.failed = nil, nil, nil
	st.pipelined, st.tunneled, st.last, st.continued = false, false, false, false
	st.started.Store(false)
	st.watch.state.Store(watchOff)
	st.watch.done = nil
	s.streams.Put(st)
}
