// Package kit puts a whole Weft under test: a Lab is one test's network with Weft in the middle, fake upstreams behind it and clients
// before it, on loopback sockets or in memory.
//
// Run runs a test in every pair of protocols. A Client and an Origin speak either; what they send and see is a Stream, whatever the
// protocol. Underneath, an H2 is a peer of HTTP/2 that can be made to send anything; a Peer and an Upstream are the same for the bytes of
// HTTP/1. They record exactly what they saw and answer as told, however wrong that is. Everything that waits has a deadline.
//
// When a test ends its Lab checks that Weft has ended, and that no connection or request is still counted as active.
package kit
