package secret

import (
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// Options are what a Store is made with. The zero value works.
type Options struct {
	Stats  *stats.Store                              // secret.reload_success, secret.reload_failure, sds.<name>.key_rotation_failed; nil: not counted
	Log    *slog.Logger                              // nil: nothing is logged
	Hub    *subscription.Hub                         // who delivers secrets by SDS; nil: nobody
	Getenv func(name string) (value string, ok bool) // of environment_variable; nil: os.LookupEnv

	Debounce time.Duration // how long files have to be quiet before they are read again, 0: 50 ms
	Retry    time.Duration // how often files that cannot be used are tried again, 0: 1 s
	Poll     time.Duration // how often files are looked at that the system told nothing about, 0: 10 s
}

// A Store keeps the slots of all secrets and re-reads files that have changed. It holds nothing that nobody uses. Safe for concurrent use.
type Store struct {
	o     Options // immutable
	log   *slog.Logger
	scope *stats.Scope
	ok    *stats.Counter // nil, as the next one, when nothing is counted
	bad   *stats.Counter
	kick  chan struct{} // tells Run that there are other sources; one is enough

	changing sync.Mutex // held while values change; taken before mu where both are

	mu       sync.Mutex
	last     uint64
	items    map[uint64]func() item                                 // guarded by mu; nil once nobody uses it
	named    map[id]func() any                                      // slots of static secrets; guarded by mu
	dynamics map[id]func() any                                      // *dynamic of secrets that a source delivers; guarded by mu
	combined map[weak.Pointer[Slot[Validation]]]map[uint64]struct{} // sources that depend on a slot; guarded by mu
	moved    map[uint64]struct{}                                    // sources that may have other files now; guarded by mu
	pairs    cache[KeyPair]
	trusts   cache[anchors]
}

// An item is a source of any kind, as the store sees it.
type item interface {
	files() (files, dirs []string)
	refresh() bool
	refreshLocked() bool
	stale() bool
	describe() Shown
}

// NewStore returns a store that has nothing. Run makes it follow changes of files; without, each is read when it is compiled.
func NewStore(o Options) *Store {
	if o.Debounce == 0 {
		o.Debounce = 50 * time.Millisecond
	}
	if o.Retry == 0 {
		o.Retry = time.Second
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	s := &Store{
		o: o, log: o.Log, kick: make(chan struct{}, 1), items: map[uint64]func() item{}, named: map[id]func() any{}, dynamics: map[id]func() any{},
		combined: map[weak.Pointer[Slot[Validation]]]map[uint64]struct{}{}, moved: map[uint64]struct{}{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Stats != nil {
		s.scope = o.Stats.Scope("secret.")
		s.ok, s.bad = s.scope.Counter("reload_success"), s.scope.Counter("reload_failure")
	}
	return s
}

func (s *Store) getenv(name string) (string, bool) {
	if s.o.Getenv != nil {
		return s.o.Getenv(name)
	}
	return os.LookupEnv(name)
}

// know makes the store follow a source for as long as somebody uses it, and returns the source's number.
func know[T any](s *Store, src *source[T], base *Slot[Validation]) uint64 {
	s.mu.Lock()
	s.last++
	n, ref, on := s.last, weak.Make(src), weak.Make(base)
	s.items[n] = func() item {
		if src := ref.Value(); src != nil {
			return src
		}
		return nil
	}
	if base != nil {
		if s.combined[on] == nil {
			s.combined[on] = map[uint64]struct{}{}
		}
		s.combined[on][n] = struct{}{}
	}
	s.mu.Unlock()
	runtime.AddCleanup(src, func(n uint64) { s.forget(n, on) }, n)
	s.wake()
	return n
}

// move notes that a source may have other files now.
func (s *Store) move(n uint64) {
	s.mu.Lock()
	s.moved[n] = struct{}{}
	s.mu.Unlock()
	s.wake()
}

// forget drops a source that nobody uses. Run, which may belong to a test's own time, is not told: it finds out when it looks next.
func (s *Store) forget(n uint64, on weak.Pointer[Slot[Validation]]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, n)
	delete(s.moved, n)
	if all := s.combined[on]; all != nil {
		if delete(all, n); len(all) == 0 {
			delete(s.combined, on)
		}
	}
}

// wake tells Run to look at the list of sources.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // it will anyway
	}
}

// slotOf is the slot of a static secret, the same one for as long as somebody uses it.
func slotOf[T any](s *Store, i id) *Slot[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.named[i]; find != nil {
		if slot, ok := find().(*Slot[T]); ok && slot != nil {
			return slot
		}
	}
	slot := &Slot[T]{name: i.name}
	ref := weak.Make(slot)
	s.named[i] = func() any { return ref.Value() }
	runtime.AddCleanup(slot, s.release, i)
	return slot
}

// release drops the slot of a static secret that nobody uses, unless there is another one by now.
func (s *Store) release(i id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.named[i]; find != nil && gone(find()) {
		delete(s.named, i)
	}
}

// gone says whether a slot is a nil pointer.
func gone(slot any) bool {
	switch x := slot.(type) {
	case *Slot[KeyPair]:
		return x == nil
	case *Slot[Validation]:
		return x == nil
	case *Slot[TicketKeys]:
		return x == nil
	case *Slot[Generic]:
		return x == nil
	}
	return true
}

// dependents are the sources that are made of the value of a slot, which has changed.
func (s *Store) dependents(on *Slot[Validation]) []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []item
	for n := range s.combined[weak.Make(on)] {
		if src := s.items[n](); src != nil {
			out = append(out, src)
			s.moved[n] = struct{}{}
		}
	}
	return out
}

// find is the source of a number, nil when nobody uses it any more.
func (s *Store) find(n uint64) item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if find := s.items[n]; find != nil {
		return find()
	}
	return nil
}

// news is the numbers of all sources, and of those that may have other files now.
func (s *Store) news() (all, moved map[uint64]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = make(map[uint64]struct{}, len(s.items))
	for n := range s.items {
		all[n] = struct{}{}
	}
	moved, s.moved = s.moved, map[uint64]struct{}{}
	return all, moved
}

// reloaded notes that a secret has another value.
func (s *Store) reloaded(i id, at resource.Path, notes []fault) {
	if s.ok != nil {
		s.ok.Inc()
	}
	s.log.Info("secret reloaded", about(i, at)...)
	for _, n := range notes {
		s.log.Warn("secret: "+n.text, about(i, path(at, n.field))...)
	}
}

// well notes that a secret which could not be reloaded has the value again that is in use.
func (s *Store) well(i id, at resource.Path) {
	s.log.Info("secret can be loaded again; it has not changed", about(i, at)...)
}

// about is what the log says of which secret it is, and perhaps of what is wrong with it.
func about(i id, at resource.Path, more ...any) []any {
	out := []any{"path", string(at)}
	if i.name != "" {
		out = append(out, "secret", i.name)
	}
	return append(out, more...)
}

// failed notes that a secret cannot have another value.
func (s *Store) failed(i id, at resource.Path, err error) {
	if s.bad != nil {
		s.bad.Inc()
		if i.name != "" {
			scope := s.o.Stats.Scope("sds." + i.name + ".")
			scope.Counter("key_rotation_failed").Inc()
		}
	}
	f := asFault(err)
	s.log.Warn("secret cannot be reloaded; its last value stays in use", about(i, path(at, f.field), "error", f.text)...)
}
