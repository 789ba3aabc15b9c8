package http2

import (
	"net"
	"testing"

	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/transport/memory"
)

// inMemory returns the two ends of a connection whose time is that of synctest.
func inMemory() (near, far *memory.Conn) {
	return memory.Pair(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2})
}

// startInMemory is start within a synctest bubble.
func startInMemory(t testing.TB, o ServerOptions, h protocol.StreamHandler) *served {
	near, far := inMemory()
	return startOn(t, o, h, near, far)
}
