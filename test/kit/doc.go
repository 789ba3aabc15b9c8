// Package kit puts a whole Weft under test: a Lab is one test's network with Weft in the middle, fake upstreams behind it and raw
// clients before it, on loopback sockets or in memory.
//
// Upstreams record exactly what they saw and answer as told, however wrong that is; clients send and read bytes. Everything that
// waits has a deadline. When a test ends its Lab checks that Weft has ended, and that no connection or request is still counted
// as active.
package kit
