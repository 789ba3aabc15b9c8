//go:build unix

package secret

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestAPipeThatNobodyWritesToIsNotWaitedFor(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if b, err := readFile(name); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it is")
	}
}
