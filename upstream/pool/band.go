package pool

// A band is what requests of one routing priority share: connections serve only the priority that they were opened for, as with Envoy,
// so that each counts against its own circuit breakers. Guarded by Pool.mu.
type band struct {
	idle    []*link // free sessions of one stream at a time, the one used last at the end
	room    []*link // sessions of many streams that may start another one
	waiting queue   // who waits for a session: nobody while there is a link in idle or room
	dials   int     // under way for sessions
	usable  int     // sessions that new requests are to wait for rather than exceed the limit of connections
}

// band returns the band of a routing priority: 0 default, 1 high.
func (p *Pool) band(priority int) *band { return &p.bands[min(max(priority, 0), len(p.bands)-1)] }

// pop takes out the idle link that was used last, nil when there is none.
func (b *band) pop() *link {
	n := len(b.idle)
	if n == 0 {
		return nil
	}
	l := b.idle[n-1]
	b.idle[n-1] = nil
	b.idle = b.idle[:n-1]
	return l
}

// unlist takes l out of the idle ones, if it is there.
func (b *band) unlist(l *link) {
	for i := range b.idle {
		if b.idle[i] == l {
			copy(b.idle[i:], b.idle[i+1:])
			b.idle[len(b.idle)-1] = nil
			b.idle = b.idle[:len(b.idle)-1]
			return
		}
	}
}

// least returns the link with room that has the fewest streams, nil when all are full.
func (b *band) least() *link {
	if len(b.room) == 0 {
		return nil
	}
	best := b.room[0]
	for _, l := range b.room[1:] {
		if best.streams == 0 {
			break
		}
		if l.streams < best.streams {
			best = l
		}
	}
	return best
}

// place lists a shared link among those with room, or takes it out, as its streams say.
func (b *band) place(l *link) {
	roomy := !l.closing && l.streams < l.most
	switch {
	case roomy && l.seat < 0:
		l.seat = len(b.room)
		b.room = append(b.room, l)
	case !roomy && l.seat >= 0:
		last := len(b.room) - 1
		b.room[l.seat] = b.room[last]
		b.room[l.seat].seat = l.seat
		b.room[last] = nil
		b.room = b.room[:last]
		l.seat = -1
	}
}
