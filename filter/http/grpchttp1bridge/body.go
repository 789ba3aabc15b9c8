package grpchttp1bridge

import (
	"io"

	"github.com/weftproxy/weft/message"
)

// held is a body that was read to its end. The trailers are still those of the body below.
type held struct {
	message.Body
	data []byte
	read bool
}

// Next implements message.Body.
func (b *held) Next() ([]byte, error) {
	if b.read || len(b.data) == 0 {
		return nil, io.EOF
	}
	b.read = true
	return b.data, nil
}

// Ready implements message.Body.
func (b *held) Ready() bool { return true }

// Pause implements message.Pauser: Next never blocks.
func (b *held) Pause() {}

// Resume implements message.Pauser.
func (b *held) Resume() {}

// prefixed is a body with some bytes before it.
type prefixed struct {
	message.Body
	head []byte
	sent bool
}

// Next implements message.Body.
func (b *prefixed) Next() ([]byte, error) {
	if !b.sent {
		b.sent = true
		return b.head, nil
	}
	return b.Body.Next()
}

// Ready implements message.Body.
func (b *prefixed) Ready() bool { return !b.sent || b.Body.Ready() }

// Pause implements message.Pauser where the body below does.
func (b *prefixed) Pause() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (b *prefixed) Resume() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Resume()
	}
}
