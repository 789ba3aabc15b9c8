package http1

import (
	"errors"
	"sync/atomic"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/protocol"
)

var errUnwatch = errors.New("http1: the watch is over")

// The states of a watch.
const (
	watchOff int32 = iota
	watchOn
	watchOver
)

// A watch is a goroutine that waits for the end of a connection while a handler is busy with the request.
type watch struct {
	state atomic.Int32
	done  chan struct{} // closed when the goroutine has ended; made before watchOn
}

// peek starts a watch of a client that has sent its whole request. The scope is locked.
func (v *serving) peek(st *stream) {
	if !st.body.over() {
		v.scope.Extend(scope.Peek, scope.Now()+int64(v.s.o.PeekAfter))
		return
	}
	w := &st.watch
	w.done = make(chan struct{})
	if w.state.CompareAndSwap(watchOff, watchOn) {
		go v.watch(w) // ends when the client sends or goes, or at stop, which waits for it
	}
}

// watch cancels the exchange when the client goes.
func (v *serving) watch(w *watch) {
	defer close(w.done)
	if err := v.c.AwaitPeer(); err != nil && v.c.Woken() == nil {
		v.scope.Cancel(protocol.ErrPeerGone)
	}
}

// stop ends the watch. It is the connection's only reader, so waking readers wakes nobody else.
func (w *watch) stop(c *conn.Conn) {
	if w.state.Swap(watchOver) == watchOn {
		c.WakeRead(errUnwatch)
		<-w.done
	}
}
