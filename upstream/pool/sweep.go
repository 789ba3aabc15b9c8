package pool

import (
	"time"

	"github.com/weftproxy/weft/internal/scope"
)

// sweepEvery is how often idle sessions are looked at, to notice those that the peer has closed.
const sweepEvery = int64(5 * time.Second)

// batch is how many sessions sweep takes out of the pool at a time while it looks at them.
const batch = 16

// arm makes sweep run in time for l. mu is held.
func (p *Pool) arm(l *link, now int64) {
	if p.draining {
		return
	}
	at := l.expires()
	if !l.shared {
		at = min(at, now+sweepEvery) // the readers of shared sessions notice their end themselves
	}
	if at == never || p.armed && p.due <= at {
		return
	}
	p.armed, p.due = true, at
	wait := time.Duration(max(at-now, int64(time.Millisecond)))
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.sweep)
	} else {
		p.timer.Reset(wait)
	}
}

// sweep closes sessions that are due or dead. It runs on the timer's goroutine, while there are sessions to watch.
func (p *Pool) sweep() {
	now := scope.Now()
	p.mu.Lock()
	p.armed = false
	p.sweepShared(now)
	p.unlock()
	for i := range p.bands {
		p.sweepIdle(&p.bands[i], now)
	}
	now = scope.Now()
	p.mu.Lock()
	defer p.unlock()
	for i := range p.bands {
		for _, l := range p.bands[i].idle {
			p.arm(l, now)
		}
	}
	if p.shared == 0 {
		return
	}
	for _, l := range p.live {
		if l.shared && !l.closing {
			p.arm(l, now)
		}
	}
}

// sweepShared dismisses sessions of many streams that are too old, or have had none for too long. mu is held.
func (p *Pool) sweepShared(now int64) {
	if p.shared == 0 {
		return
	}
	for i := len(p.live) - 1; i >= 0; i-- { // end moves the last one to i
		l := p.live[i]
		switch {
		case !l.shared || l.closing:
		case l.maxed(now):
			p.o.Stats(l.lane).CxMaxDurationReached.Inc()
			p.dismiss(l, ErrRetired)
		case l.expires() <= now:
			p.o.Stats(l.lane).CxIdleTimeout.Inc()
			p.dismiss(l, ErrIdle)
		}
	}
}

// sweepIdle looks at the idle sessions of a band.
func (p *Pool) sweepIdle(b *band, now int64) {
	p.mu.Lock()
	left := len(b.idle)
	p.mu.Unlock()
	for left > 0 {
		n := p.sweepBatch(b, min(left, batch), now)
		if n == 0 {
			return
		}
		left -= n
	}
}

// sweepBatch looks at up to n sessions from the idle end. They are out of the pool meanwhile; those that are well go back behind the
// others, so that after the last batch they are in their old order.
func (p *Pool) sweepBatch(b *band, n int, now int64) int {
	p.mu.Lock()
	n = min(n, len(b.idle))
	taken := make([]*link, n)
	copy(taken, b.idle)
	b.idle = append(b.idle[:0], b.idle[n:]...)
	p.mu.Unlock()

	well := taken[:0]
	for _, l := range taken {
		switch {
		case l.maxed(now):
			p.o.Stats(l.lane).CxMaxDurationReached.Inc()
			l.abandon(endLocal)
		case p.o.IdleTimeout > 0 && now-l.idleSince >= int64(p.o.IdleTimeout):
			p.o.Stats(l.lane).CxIdleTimeout.Inc()
			l.abandon(endLocal)
		case !l.alive():
			l.abandon(endRemote)
		default:
			well = append(well, l)
		}
	}
	for _, l := range well {
		p.putBack(l)
	}
	return n
}

// putBack returns a session that was taken out of the idle ones and not used: to whoever began to wait meanwhile, or to the others.
func (p *Pool) putBack(l *link) {
	p.mu.Lock()
	switch {
	case l.dead:
	case l.closing:
		p.lastOut(l)
	default:
		p.offer(l, l.idleSince)
	}
	p.unlock()
}
