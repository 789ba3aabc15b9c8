package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// A Kind says why there is no connection.
type Kind uint8

// The kinds of failure, named as Envoy's reset reasons.
const (
	Overflow      Kind = iota // a circuit breaker is open
	RemoteFailure             // the host refused the connection or cannot be reached
	LocalFailure              // this side could not even begin to connect
	Timeout                   // connect_timeout passed
	Closed                    // the cluster was closed
)

// String returns the reset reason as Envoy's local replies word it.
func (k Kind) String() string {
	return [...]string{"overflow", "remote connection failure", "local connection failure", "connection timeout", "connection termination"}[k]
}

// An Error is a connection that could not be had.
type Error struct {
	Kind    Kind
	Address string
	Cause   error  // nil for Overflow
	Reason  string // what the transport socket says of its handshake (Info.TransportFailure); "" where that is not what failed
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("connect to %s: %s", e.Address, e.Kind)
	}
	return fmt.Sprintf("connect to %s: %s: %v", e.Address, e.Kind, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Causes with which the pool ends connections and dials.
var (
	ErrClosed         = errors.New("pool: closed")
	ErrIdle           = errors.New("pool: idle timeout")
	ErrRetired        = errors.New("pool: connection no longer wanted")
	ErrTidied         = errors.New("pool: tidied away")
	errConnectTimeout = errors.New("pool: connect timeout")
)

// failure says what went wrong with a dial whose context is ctx.
func failure(ctx context.Context, address string, err error) *Error {
	e := &Error{Kind: RemoteFailure, Address: address, Cause: err}
	switch cause := context.Cause(ctx); {
	case cause == errConnectTimeout:
		e.Kind, e.Cause = Timeout, cause
	case cause == ErrClosed:
		e.Kind, e.Cause = Closed, cause
	case cause != nil:
		e.Cause = cause
	case isLocal(err):
		e.Kind = LocalFailure
	}
	return e
}

// isLocal says that connecting failed before the network was asked.
func isLocal(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EMFILE, syscall.ENFILE, syscall.EACCES,
		syscall.EPERM, syscall.EAFNOSUPPORT, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINVAL, syscall.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// isBind says that the source address was the problem.
func isBind(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE)
}

// TLSAlert is the Op of the *net.OpError with which crypto/tls reports an alert of the peer. With TLS 1.3 it may come after the handshake:
// the server refuses the client's certificate.
const TLSAlert = "remote error"

// byPeer says that a connection ended because the peer ended it.
func byPeer(cause error) bool {
	var alert *net.OpError
	return errors.As(cause, &alert) && alert.Op == TLSAlert || errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) ||
		errors.Is(cause, syscall.ECONNRESET) || errors.Is(cause, syscall.EPIPE)
}
