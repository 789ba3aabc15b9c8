package grpc

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/weftproxy/weft/message"
)

// chunks is a body that comes in the given pieces and then ends with err. A chunk is overwritten when the next is asked for.
type chunks struct {
	message.Body
	parts [][]byte
	last  []byte
	err   error
}

func (c *chunks) Next() ([]byte, error) {
	clear(c.last)
	if len(c.parts) == 0 {
		return nil, c.err
	}
	c.last = bytes.Clone(c.parts[0])
	c.parts = c.parts[1:]
	return c.last, nil
}

func (c *chunks) Ready() bool { return len(c.parts) > 0 }

// split cuts b into pieces of n bytes.
func split(b []byte, n int) *chunks {
	c := &chunks{Body: message.NoBody, err: io.EOF}
	for len(b) > 0 {
		k := min(n, len(b))
		c.parts = append(c.parts, b[:k])
		b = b[k:]
	}
	return c
}

func frames(messages ...string) []byte {
	var b []byte
	for i, m := range messages {
		b = append(AppendFrameHeader(b, byte(i&1), len(m)), m...)
	}
	return b
}

var texts = []string{"", "a", "hello", "", "a longer message than the others"}

func TestMessagesAreFoundInAllSplits(t *testing.T) {
	all := frames(texts...)
	for n := 1; n <= len(all); n++ {
		r, s := NewReader(split(all, n), 100), Scanner{}
		for _, p := range split(all, n).parts {
			s.Scan(p)
		}
		if s.Count() != uint64(len(texts)) || !s.Whole() {
			t.Errorf("pieces of %d: the scanner counts %d, whole: %v", n, s.Count(), s.Whole())
		}
		for i, want := range texts {
			flags, m, err := r.Next()
			if err != nil || flags != byte(i&1) || string(m) != want {
				t.Fatalf("pieces of %d, message %d: %d %q %v", n, i, flags, m, err)
			}
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Fatalf("pieces of %d: %v at the end", n, err)
		}
	}
}

func TestScannerCountsAtTheFirstByte(t *testing.T) {
	var s Scanner
	if n := s.Scan([]byte{0}); n != 1 || s.Whole() {
		t.Errorf("%d, whole: %v", n, s.Whole())
	}
	if n := s.Scan([]byte{0, 0, 0, 2, 'a'}); n != 0 || s.Whole() {
		t.Errorf("%d, whole: %v", n, s.Whole())
	}
	if n := s.Scan([]byte{'b', 0, 0, 0, 0, 0, 1}); n != 2 || s.Whole() {
		t.Errorf("%d, whole: %v", n, s.Whole())
	}
}

func TestReaderFailures(t *testing.T) {
	broke := errors.New("broke")
	all := frames("hello")
	for _, tc := range []struct {
		name  string
		b     []byte
		limit int
		end   error
		want  error
	}{
		{"ends inside the header", all[:3], 10, io.EOF, io.ErrUnexpectedEOF},
		{"ends after the header", all[:5], 10, io.EOF, io.ErrUnexpectedEOF},
		{"ends inside the message", all[:7], 10, io.EOF, io.ErrUnexpectedEOF},
		{"breaks inside the message", all[:7], 10, broke, broke},
		{"breaks before anything", nil, 10, broke, broke},
		{"too large", all, 4, io.EOF, ErrTooLarge},
		{"as large as may be", all, 5, io.EOF, nil},
		{"huge", []byte{0, 0xff, 0xff, 0xff, 0xff}, 1 << 20, io.EOF, ErrTooLarge},
	} {
		for n := 1; n <= max(len(tc.b), 1); n++ {
			body := split(tc.b, n)
			body.err = tc.end
			if _, _, err := NewReader(body, tc.limit).Next(); err != tc.want {
				t.Errorf("%s, pieces of %d: %v", tc.name, n, err)
			}
		}
	}
}

func TestReaderReady(t *testing.T) {
	all := frames("ab", "cd")
	r := NewReader(&chunks{Body: message.NoBody, parts: [][]byte{all[:10]}, err: io.EOF}, 10)
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if r.Ready() {
		t.Error("ready with half a message and no more to come")
	}
	r = NewReader(split(all, len(all)), 10)
	if _, _, err := r.Next(); err != nil || !r.Ready() {
		t.Errorf("not ready with a whole message at hand (%v)", err)
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	all := frames(texts...)
	var s Scanner
	if n := testing.AllocsPerRun(100, func() { s.Scan(all) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frames(texts...), uint8(3), uint8(20))
	f.Add([]byte{1, 0, 0}, uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, piece, limit uint8) {
		n := max(int(piece), 1)
		var s Scanner
		for _, p := range split(b, n).parts {
			s.Scan(p)
		}
		r, whole := NewReader(split(b, n), int(limit)), NewReader(split(b, max(len(b), 1)), int(limit))
		read := uint64(0)
		for {
			f1, m1, err1 := r.Next()
			f2, m2, err2 := whole.Next()
			if f1 != f2 || !bytes.Equal(m1, m2) || err1 != err2 {
				t.Fatalf("pieces of %d give %d %q %v, all at once %d %q %v", n, f1, m1, err1, f2, m2, err2)
			}
			if err1 == io.EOF && (!s.Whole() || s.Count() != read) {
				t.Fatalf("the scanner counts %d of %d, whole: %v", s.Count(), read, s.Whole())
			}
			if err1 != nil {
				return
			}
			read++
		}
	})
}
