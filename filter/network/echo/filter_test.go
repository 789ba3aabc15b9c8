package echo

import (
	"io"
	"net"
	"testing"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/resource"
)

func TestEchoesToTheEnd(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
	a, b := net.Pipe()
	done := make(chan error)
	go func() { done <- Filter{}.ServeConn(t.Context(), conn.New(a)) }() // ends with b
	if _, err := io.WriteString(b, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = b.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
