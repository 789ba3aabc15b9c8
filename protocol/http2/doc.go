// Package http2 is HTTP/2 from both sides (RFC 9113): a Server that decodes streams, and a Client whose sessions carry many requests at once.
// One goroutine reads a connection; streams append what they write to the connection's buffer, which one flusher writes for all of them.
package http2
