package message

import "io"

// A Replay lets a body be sent more than once: it records chunks while the first attempt streams them, up to a limit. Past
// the limit it goes on streaming, and Rewind reports that no further attempt is possible. It is used by one attempt at a time.
type Replay struct {
	src      Body
	limit    int
	recorded []byte
	ended    bool // src returned io.EOF
	overflow bool
	at       int // how much of what is recorded the present attempt has had
	err      error
}

// NewReplay wraps src, recording at most limit bytes. Closing src remains the caller's business; closing the Replay only ends an
// attempt.
func NewReplay(src Body, limit int) *Replay { return &Replay{src: src, limit: limit} }

// keepRecorded is how much memory a Replay keeps from one body to the next.
const keepRecorded = 4 << 10

// Reset makes r the replay of another body, and keeps its memory for that where it is small. A nil src forgets the old one.
func (r *Replay) Reset(src Body, limit int) {
	recorded := r.recorded[:0]
	if cap(recorded) > keepRecorded {
		recorded = nil
	}
	*r = Replay{src: src, limit: limit, recorded: recorded}
}

// Next returns the next chunk of this attempt.
func (r *Replay) Next() ([]byte, error) {
	if r.at < len(r.recorded) {
		p := r.recorded[r.at:]
		r.at = len(r.recorded)
		return p, nil
	}
	if r.err != nil {
		return nil, r.err
	}
	if r.ended {
		return nil, io.EOF
	}
	p, err := r.src.Next()
	if err != nil {
		if r.ended = err == io.EOF; !r.ended {
			r.err = err
		}
		return nil, err
	}
	r.record(p)
	return p, nil
}

func (r *Replay) record(p []byte) {
	if r.overflow {
		return
	}
	if len(r.recorded)+len(p) > r.limit {
		r.overflow, r.recorded, r.at = true, nil, 0
		return
	}
	r.recorded = append(r.recorded, p...)
	r.at = len(r.recorded)
}

// Ready reports that Next would not block.
func (r *Replay) Ready() bool {
	return r.at < len(r.recorded) || r.ended || r.err != nil || r.src.Ready()
}

// Trailer is the trailer of the source, once it has ended.
func (r *Replay) Trailer() *Header {
	if !r.ended {
		return nil
	}
	return r.src.Trailer()
}

// Close ends an attempt: it wakes a blocked Next. What was recorded stays, and Rewind lets the next attempt go on.
func (r *Replay) Close(cause error) {
	if p, ok := r.src.(Pauser); ok {
		p.Pause()
	} else if cause != nil {
		r.src.Close(cause)
	}
}

// Rewind prepares the next attempt. It reports false when the body was larger than the limit or broke off.
func (r *Replay) Rewind() bool {
	if r.overflow || (r.err != nil && r.err != ErrPaused) {
		return false
	}
	if p, ok := r.src.(Pauser); ok {
		p.Resume()
	}
	r.at, r.err = 0, nil
	return true
}

// Overflowed reports that the body was larger than the limit.
func (r *Replay) Overflowed() bool { return r.overflow }
