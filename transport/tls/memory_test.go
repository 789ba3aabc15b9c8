package tls

import (
	"context"
	"crypto/tls"
	"io"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/transport"
	"github.com/weftproxy/weft/transport/memory"
)

func TestWhatIsNoSocketCarriesTLSToo(t *testing.T) {
	s, _ := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c"}))
	net := memory.New()
	ln, err := net.Listen(t.Context(), transport.ListenOptions{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	there, err := net.Dial(context.Background(), transport.DialOptions{Network: "tcp", Address: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c := conn.New(here)
		err := s.Handshake(c)
		if err == nil {
			_, err = c.Write([]byte("hello"))
		}
		_ = c.Close()
		done <- err
	}()
	b, err := io.ReadAll(tls.Client(there, anyone()))
	if err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = there.Close()
}
