package tls

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
)

// kept is the capacity of a connection's buffers, in bytes.
func kept(c *tls.Conn) (total int) {
	for _, name := range []string{"rawInput", "hand"} {
		total += reflect.ValueOf(c).Elem().FieldByName(name).FieldByName("buf").Cap()
	}
	return total
}

// ends are both ends of a TLS connection whose handshake is over.
func ends(t *testing.T) (here layer, there *tls.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{nc, accepted} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // fails only on what is closed
		t.Cleanup(func() { _ = c.Close() })
	}
	there = tls.Client(nc, anyone())
	here = layer{tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{issue(t, nil, wish{name: "c"}).pair()}})}
	done := make(chan error, 1)
	go func() { done <- there.Handshake() }()
	if err := here.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return here, there
}

// TestRestGivesBuffersBack fails where a new version of Go keeps its buffers elsewhere: they are not given back then.
func TestRestGivesBuffersBack(t *testing.T) {
	here, there := ends(t)
	if len(buffers) != 2 || kept(here.Conn) == 0 {
		t.Fatalf("%d buffers found, %d bytes kept after the handshake", len(buffers), kept(here.Conn))
	}
	here.Rest()
	if n := kept(here.Conn); n != 0 {
		t.Errorf("%d bytes kept", n)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for range 2 {
		sent := make(chan error, 1)
		go func() {
			_, err := there.Write(big)
			sent <- err
		}()
		got := make([]byte, len(big))
		if _, err := io.ReadFull(here, got); err != nil || !bytes.Equal(got, big) {
			t.Fatalf("something else arrived, or nothing: %v", err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if n := kept(here.Conn); n < 16<<10 {
			t.Errorf("%d bytes kept after a large record: is Rest needed?", n)
		}
		here.Rest()
		if n := kept(here.Conn); n != 0 {
			t.Errorf("%d bytes kept", n)
		}
	}
}

func TestRestKeepsWhatWaits(t *testing.T) {
	here, there := ends(t)
	for _, text := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(there, text); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len("onetwothree"))
	for i := range got {
		if _, err := here.Read(got[i : i+1]); err != nil {
			t.Fatal(err)
		}
		here.Rest()
	}
	if string(got) != "onetwothree" {
		t.Errorf("%q", got)
	}
}
