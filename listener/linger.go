package listener

import (
	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
)

// Lingering returns which of the compiled filters of an earlier configuration open connections still have that the one in force has replaced.
// Each of those connections may have one more exchange, until it is closed after the drain time.
func (l *Listener) Lingering(old *Config) []extension.Built {
	left := map[conn.Handler]bool{} // whether a connection has it
	for _, b := range old.Built() {
		left[b.Handler] = false
	}
	for _, b := range l.cfg.Load().Built() {
		delete(left, b.Handler)
	}
	if len(left) == 0 {
		return nil
	}
	l.live.each(func(s *session) {
		if chain := s.chain.Load(); chain != nil && chain.built != nil {
			if _, ok := left[chain.built.Handler]; ok {
				left[chain.built.Handler] = true
			}
		}
	})
	var all []extension.Built
	for _, b := range old.Built() {
		if left[b.Handler] {
			all = append(all, b)
		}
	}
	return all
}
