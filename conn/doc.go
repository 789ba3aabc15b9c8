// Package conn is one connection, downstream or upstream: its read buffer, how it is woken, what is known of its peer. A Handler
// serves one; a Conn can be parked while idle and detached to be handed to another process.
package conn
