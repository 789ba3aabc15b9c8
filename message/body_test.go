package message

import (
	"io"
	"testing"
)

func TestBytesMayBeClosedWhileTheyAreRead(t *testing.T) {
	for range 100 {
		b := NewBytes([]byte("x"))
		done := make(chan struct{})
		go func() { // ends at once
			defer close(done)
			b.Close(nil)
		}()
		if p, err := b.Next(); err == nil && string(p) != "x" {
			t.Errorf("got %q", p)
		}
		<-done
		if _, err := b.Next(); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	}
}
