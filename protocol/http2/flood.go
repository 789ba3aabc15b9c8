package http2

// mostContinuations is how many CONTINUATION frames a header section may have that could do with fewer.
const mostContinuations = 64

// floods holds frames that cost the peer nothing to a budget, as Envoy does.
func (r *reader) floods(f frame) error {
	o, st := r.m.o, r.m.stats
	switch f.kind {
	case frameData, frameHeaders, frameContinuation:
		if f.kind == frameData && f.flags&flagPadded != 0 {
			return nil // data finds out how much of it is padding
		}
		return r.payload(f.length > 0 || f.kind != frameContinuation && f.flags&flagEndStream != 0)
	case framePriority:
		if r.priorities++; r.priorities > uint64(o.MaxPriority)*(1+r.side.opened()) {
			st.InboundPriorityFlood.Inc()
			return errPriorityFlood
		}
	case frameWindowUpdate:
		r.updates++
		if r.updates <= 5+2*r.side.opened() {
			return nil
		}
		r.m.mu.Lock()
		sent := r.m.dataFrames
		r.m.mu.Unlock()
		if r.updates > 5+2*(r.side.opened()+uint64(o.MaxWindowUpdates)*sent) {
			st.InboundWindowUpdateFlood.Inc()
			return errUpdateFlood
		}
	}
	return nil
}

// payload counts frames that say nothing, one after the other.
func (r *reader) payload(any bool) error {
	if any {
		r.empty = 0
		return nil
	}
	if r.empty++; r.empty > r.m.o.MaxEmpty {
		r.m.stats.InboundEmptyFlood.Inc()
		return errEmptyFlood
	}
	return nil
}
