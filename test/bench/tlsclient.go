//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// dialTLS connects and completes the handshake within limit, which bounds the whole connection.
func dialTLS(addr string, config *tls.Config, limit time.Duration) (*tls.Conn, error) {
	raw, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	if err := errors.Join(c.SetDeadline(time.Now().Add(limit)), c.Handshake()); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// dialAskTLS opens a connection as config says, asks once with the protocol that the two agreed on and closes it. What they agreed
// on must be the first of the protocols offered, and the rest as with every proxy.
func dialAskTLS(addr string, config *tls.Config, path string, limit time.Duration) error {
	c, err := dialTLS(addr, config, limit)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the peer has closed, or is not needed any more
	state := c.ConnectionState()
	if err := sameWork(state); err != nil {
		return err
	}
	if want := config.NextProtos[0]; state.NegotiatedProtocol != want && (state.NegotiatedProtocol != "" || want == "h2") {
		return fmt.Errorf("application protocol %q, want %q", state.NegotiatedProtocol, want)
	}
	if state.NegotiatedProtocol != "h2" {
		return ask(c, path, limit)
	}
	h2, err := greetH2(c, "https", limit, h2FirstWindow, 0)
	if err != nil {
		return err
	}
	_, err = h2.ask(path, limit, h2FirstWindow)
	return err
}

// tlsVisitor opens a connection that asks "/100" over TLS once, and then again.
func tlsVisitor(addr string) (visitor, error) {
	c, err := dialTLS(addr, clientTLS(), askLimit)
	if err != nil {
		return nil, err
	}
	return guest{c}, nil
}
