// Package socket is what a transport socket is: what turns the bytes on a connection's wire into those that its handler reads and writes.
// A Factory builds one from its configuration message; a Registry is the value that lists those compiled in.
package socket
