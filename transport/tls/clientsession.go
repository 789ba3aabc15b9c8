package tls

import (
	"crypto/tls"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	mostSessions = 1024 // of one server and name, whatever max_session_keys says
	mostServers  = 64   // of which sessions are kept
)

// A sessionKey says what a session may be resumed for: the same server, asked for the same name under the same rules.
type sessionKey struct{ host, sni, names, alpn string }

// sessions are a client's sessions, for each server and name the last ones. Safe for concurrent use.
type sessions struct {
	most int // of a key

	mu    sync.Mutex
	byKey map[sessionKey][]session // the last one at the end; guarded by mu
}

// A session can be resumed.
type session struct {
	state  *tls.ClientSessionState
	single bool // at most once: with TLS 1.3 whoever sees it again could tell that it is the same client (RFC 8446 appendix C.4)
}

func (s *sessions) keeper(k sessionKey) *keeper { return &keeper{of: s, key: k} }

// get returns the last session of a key, nil where there is none.
func (s *sessions) get(k sessionKey) *tls.ClientSessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.byKey[k]
	if len(list) == 0 {
		return nil
	}
	last := list[len(list)-1]
	if last.single {
		list[len(list)-1] = session{}
		s.keep(k, list[:len(list)-1])
	}
	return last.state
}

// put adds a session.
func (s *sessions) put(k sessionKey, one session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.byKey[k]
	if len(list) == 0 && len(s.byKey) >= mostServers {
		for other := range s.byKey { // any one
			delete(s.byKey, other)
			break
		}
	}
	if len(list) > 0 && len(list) == s.most {
		list = slices.Delete(list, 0, 1)
	}
	s.keep(k, append(list, one))
}

// drop forgets a session of a key: it is of no use.
func (s *sessions) drop(k sessionKey, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.byKey[k]
	s.keep(k, slices.DeleteFunc(list, func(one session) bool { return one.state == state }))
}

// keep makes list that of a key. mu is held.
func (s *sessions) keep(k sessionKey, list []session) {
	if len(list) == 0 {
		delete(s.byKey, k)
		return
	}
	if s.byKey == nil {
		s.byKey = map[sessionKey][]session{}
	}
	s.byKey[k] = list
}

// A keeper is the sessions for one connection.
type keeper struct {
	of   *sessions
	key  sessionKey
	got  *tls.ClientSessionState // what Get returned the last time; owned by the handshake
	over atomic.Bool             // the handshake is over: what comes now are tickets of TLS 1.3
}

// Get implements tls.ClientSessionCache.
func (k *keeper) Get(string) (*tls.ClientSessionState, bool) {
	k.got = k.of.get(k.key)
	return k.got, k.got != nil
}

// Put implements tls.ClientSessionCache. nil takes back what Get returned.
func (k *keeper) Put(_ string, s *tls.ClientSessionState) {
	if s == nil {
		k.of.drop(k.key, k.got)
		return
	}
	k.of.put(k.key, session{s, k.over.Load()})
}
