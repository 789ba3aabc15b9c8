package dispatch

import (
	"io"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
)

// A flow is a body on its way through: each chunk puts off the stream's idle timeout.
type flow struct {
	message.Body
	scope *scope.Scope
	idle  int64 // nanoseconds; 0: no timeout
	ended func()
}

// Next implements message.Body.
func (f *flow) Next() ([]byte, error) {
	p, err := f.Body.Next()
	if err == nil && f.idle != 0 && f.scope.Armed(scope.Idle) != 0 {
		f.scope.Extend(scope.Idle, scope.Now()+f.idle)
	}
	if err == io.EOF && f.ended != nil {
		f.ended()
	}
	return p, err
}

// Pause implements message.Pauser where the body below does.
func (f *flow) Pause() {
	if p, ok := f.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (f *flow) Resume() {
	if p, ok := f.Body.(message.Pauser); ok {
		p.Resume()
	}
}
