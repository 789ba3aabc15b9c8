package message

import (
	"errors"
	"io"
	"testing"
)

// chunks is a body of given chunks that can be paused.
type chunks struct {
	left   []string
	err    error
	paused bool
	closed error
}

func (c *chunks) Next() ([]byte, error) {
	if c.paused {
		return nil, ErrPaused
	}
	if len(c.left) == 0 {
		if c.err != nil {
			return nil, c.err
		}
		return nil, io.EOF
	}
	p := []byte(c.left[0])
	c.left = c.left[1:]
	return p, nil
}
func (c *chunks) Ready() bool       { return true }
func (c *chunks) Trailer() *Header  { return nil }
func (c *chunks) Close(cause error) { c.closed = cause }
func (c *chunks) Pause()            { c.paused = true }
func (c *chunks) Resume()           { c.paused = false }

func TestReplaySendsTheSameBodyAgain(t *testing.T) {
	src := &chunks{left: []string{"one ", "two ", "three"}}
	r := NewReplay(src, 100)
	if p, _ := r.Next(); string(p) != "one " {
		t.Fatalf("got %q", p)
	}
	r.Close(nil) // the attempt ends in the middle
	if _, err := r.Next(); err != ErrPaused {
		t.Errorf("after Close: %v", err)
	}
	for range 2 {
		if !r.Rewind() {
			t.Fatal("no rewind")
		}
		if b, err := ReadAll(r, 100); err != nil || string(b) != "one two three" {
			t.Errorf("got %q, %v", b, err)
		}
	}
}

func TestReplayBeyondItsLimitGoesOnButNotAgain(t *testing.T) {
	r := NewReplay(&chunks{left: []string{"12345", "678", "9"}}, 7)
	if b, err := ReadAll(r, 100); err != nil || string(b) != "123456789" {
		t.Errorf("got %q, %v", b, err)
	}
	if !r.Overflowed() || r.Rewind() {
		t.Error("a body beyond the limit can be rewound")
	}
}

func TestReplayOfABrokenBodyIsNotPossible(t *testing.T) {
	broken := errors.New("broken")
	r := NewReplay(&chunks{left: []string{"a"}, err: broken}, 10)
	if _, err := ReadAll(r, 10); err != broken {
		t.Errorf("got %v", err)
	}
	if r.Rewind() {
		t.Error("rewound")
	}
}

func TestReadAllLimitsAndBytesEnds(t *testing.T) {
	if b, err := ReadAll(NewBytes([]byte("12345")), 5); err != nil || string(b) != "12345" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := ReadAll(NewBytes([]byte("12345")), 4); err != ErrTooLarge {
		t.Errorf("got %v", err)
	}
	b := NewBytes([]byte("x"))
	b.Close(nil)
	if _, err := b.Next(); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
}

func TestResponseIsReleasedOnce(t *testing.T) {
	n := 0
	r := &Response{Owner: releaser(func() { n++ })}
	r.Release()
	r.Release()
	(&Response{}).Release()
	if n != 1 {
		t.Errorf("released %d times", n)
	}
}

type releaser func()

func (f releaser) Release(*Response) { f() }

func TestReplayServesOneBodyAfterTheOther(t *testing.T) {
	var r Replay
	for _, text := range []string{"first", "second", "a longer one"} {
		r.Reset(&chunks{left: []string{text[:2], text[2:]}}, 100)
		for range 2 {
			if b, err := ReadAll(&r, 100); err != nil || string(b) != text {
				t.Errorf("got %q, %v", b, err)
			}
			if !r.Rewind() {
				t.Fatal("no rewind")
			}
		}
	}
	src := &chunks{}
	text := []string{"ab", "cd"}
	if n := testing.AllocsPerRun(100, func() {
		src.left = text
		r.Reset(src, 100)
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	}); n > 2 { // the chunks that src makes
		t.Errorf("%v allocations", n)
	}
	r.Reset(NewBytes(make([]byte, 2*keepRecorded)), 4*keepRecorded)
	_, _ = r.Next()
	r.Reset(nil, 0)
	if cap(r.recorded) != 0 {
		t.Errorf("%d bytes are kept", cap(r.recorded))
	}
}
