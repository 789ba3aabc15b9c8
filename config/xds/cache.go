package xds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/observe/stats"
)

// How the cache works.
const (
	cacheTick    = 200 * time.Millisecond    // how often it looks whether there is something to do
	cacheWait    = 5 * time.Second           // how long a source may be silent before what is kept of it is used
	cacheEvery   = time.Second               // a file is written at most this often,
	cacheShare   = 20                        // and writing takes at most this part of the time
	cacheMaxFile = 512 << 20                 // bytes; a type with more is not kept
	cacheMaxAge  = 30 * 24 * time.Hour       // files that nobody has written for longer are removed
	cacheSuffix  = ".xds"                    // of its files
	cacheTemp    = "writing-*" + cacheSuffix // while they are written
)

// A StaleState is what is in force of one type from one source that has not answered since the process began, but in an earlier run.
type StaleState struct {
	Source    string    `json:"source"`
	Type      string    `json:"type"` // resource.Cluster, ...
	Version   string    `json:"version"`
	Resources int       `json:"resources"`
	Saved     time.Time `json:"saved"` // when the earlier run kept it
}

// A cache keeps the last good version of all resources on disk, by source and type, and gives it when a source does not answer at the
// start. One goroutine, that of run, does all that touches the disk. Nil methods do nothing, so that a Client without a cache has none.
type cache struct {
	client *Client
	dir    string
	log    *slog.Logger
	gauge  *stats.Gauge // xds.stale
	now    func() time.Time

	mu      sync.Mutex
	pages   map[pageKey]*page
	failing map[string]bool // sources that could not be reached, by ID
	broken  bool            // the last write failed
}

type pageKey struct {
	source string
	kind   *kind
}

// A page is one type of one source. Its fields are guarded by the cache's mu.
type page struct {
	ledger *ledger
	kind   *kind
	since  time.Time // when something of it came to be wanted
	fresh  bool      // the source has answered

	loaded  bool
	saved   time.Time
	version string
	kept    []item // of the earlier run; nil once fresh
	given   map[string]bool

	dirty   bool
	next    time.Time // not written before
	written uint64    // the sum of what the file holds
}

// newCache returns the cache in a directory, made if need be; nil without one.
func newCache(c *Client, dir string) (*cache, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("xDS cache: %w", err)
	}
	f, err := os.CreateTemp(dir, cacheTemp)
	if err != nil {
		return nil, fmt.Errorf("xDS cache: %w", err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return nil, fmt.Errorf("xDS cache: %w", err)
	}
	return &cache{
		client: c, dir: dir, log: c.log, gauge: c.o.Stats.Scope("xds").Gauge("stale"), now: time.Now,
		pages: map[pageKey]*page{}, failing: map[string]bool{},
	}, nil
}

// run does the cache's work until ctx ends; what has changed by then is written.
func (c *cache) run(ctx context.Context) {
	if c == nil {
		return
	}
	c.prune()
	tick := time.NewTicker(cacheTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.write(true)
			return
		case <-tick.C:
			c.serve()
			c.write(false)
		}
	}
}

// prune removes files that have not been written for a long time, and those that were not finished.
func (c *cache) prune() {
	files, err := os.ReadDir(c.dir)
	if err != nil {
		c.log.Warn("the xDS cache cannot be read", "directory", c.dir, "error", err)
		return
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !strings.HasSuffix(f.Name(), cacheSuffix) {
			continue
		}
		if unfinished, _ := filepath.Match(cacheTemp, f.Name()); unfinished || c.now().Sub(info.ModTime()) > cacheMaxAge {
			_ = os.Remove(filepath.Join(c.dir, f.Name())) // next time, then
		}
	}
}

// pageOf returns a page, made if need be. mu is held.
func (c *cache) pageOf(l *ledger, k *kind) *page {
	key := pageKey{l.source.ID, k}
	p := c.pages[key]
	if p == nil {
		p = &page{kind: k, since: c.now(), given: map[string]bool{}}
		c.pages[key] = p
	}
	p.ledger = l
	return p
}

// admit reports whether a response may take effect: what was kept may not once the source has answered. The shelf's taking is held.
func (c *cache) admit(l *ledger, k *kind, r *response) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pageOf(l, k)
	if r.cached {
		return !p.fresh
	}
	delete(c.failing, l.source.ID)
	if !p.fresh && len(p.given) > 0 {
		c.log.Info("a source answers; what was kept of an earlier run is replaced", "source", l.source.String(), "type", k.name)
	}
	p.fresh, p.kept = true, nil
	clear(p.given)
	c.count()
	return true
}

// note notes that a response has taken effect.
func (c *cache) note(l *ledger, k *kind, r *response) {
	if c == nil || r.cached {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pageOf(l, k).dirty = true
}

// fail notes that a source cannot be reached.
func (c *cache) fail(l *ledger) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing[l.source.ID] = true
}

// count brings the gauge up to date. mu is held.
func (c *cache) count() {
	n := 0
	for _, p := range c.pages {
		n += len(p.given)
	}
	c.gauge.Set(int64(n))
}

// stale returns what is in force that was kept.
func (c *cache) stale() []StaleState {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []StaleState
	for _, p := range c.pages {
		if len(p.given) > 0 {
			out = append(out, StaleState{
				Source: p.ledger.source.String(), Type: p.kind.name, Version: p.version, Resources: len(p.given), Saved: p.saved,
			})
		}
	}
	slices.SortFunc(out, func(a, b StaleState) int { return strings.Compare(a.Source+"\n"+a.Type, b.Source+"\n"+b.Type) })
	return out
}

// serve gives what was kept to those who wait for a source that does not answer.
func (c *cache) serve() {
	c.client.mu.Lock()
	ledgers := make([]*ledger, 0, len(c.client.ledgers))
	for _, l := range c.client.ledgers {
		ledgers = append(ledgers, l)
	}
	c.client.mu.Unlock()
	for _, l := range ledgers {
		for i := range kinds {
			c.servePage(l, &kinds[i])
		}
	}
}

func (c *cache) servePage(l *ledger, k *kind) {
	c.mu.Lock()
	p := c.pages[pageKey{l.source.ID, k}]
	if p != nil && p.fresh {
		c.mu.Unlock()
		return
	}
	if p == nil {
		if len(l.wanted(k)) == 0 {
			c.mu.Unlock()
			return
		}
		p = c.pageOf(l, k)
	}
	p.ledger = l
	due := c.failing[l.source.ID] || c.now().Sub(p.since) >= cacheWait
	c.mu.Unlock()
	if !due {
		return
	}
	if !p.loaded { // only this goroutine loads
		c.load(p)
	}
	r := c.choose(l, p)
	if r == nil {
		return
	}
	for _, x := range c.client.take(l.source, r) {
		c.log.Error("a resource that was kept is not good any more", "source", l.source.String(), "error", x.Error())
	}
}

// choose returns what of a page is wanted and was not given yet; nil for nothing.
func (c *cache) choose(l *ledger, p *page) *response {
	sh := l.shelf(p.kind)
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &response{typeURL: p.kind.url, version: p.version, delta: true, cached: true}
	first := len(p.given) == 0
	for _, it := range p.kept {
		if p.given[it.name] {
			continue
		}
		if singles, globs := l.askers(sh, it.name, nil); len(singles)+len(globs) > 0 {
			p.given[it.name] = true
			r.items = append(r.items, it)
		}
	}
	if len(r.items) == 0 {
		return nil
	}
	if first {
		c.log.Warn("a source does not answer; what was kept of an earlier run is used", "source", l.source.String(), "type", p.kind.name,
			"version", p.version, "saved", p.saved.Format(time.RFC3339))
	}
	c.count()
	return r
}

// fileOf is where a page is kept. The name depends on who asks whom.
func (c *cache) fileOf(p *page) string {
	h := sha256.New()
	s := p.ledger.source
	fmt.Fprintf(h, "%d %s", len(s.ID), s.ID)
	if s.ADS() {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.client.o.Bootstrap.GetDynamicResources().GetAdsConfig())
		if err == nil {
			fmt.Fprintf(h, " %d %s", len(b), b)
		}
	}
	node := c.client.o.Node
	fmt.Fprintf(h, " %q %q", node.GetId(), node.GetCluster())
	return filepath.Join(c.dir, p.kind.short+"-"+hex.EncodeToString(h.Sum(nil)[:12])+cacheSuffix)
}

// load reads what was kept of a page.
func (c *cache) load(p *page) {
	name := c.fileOf(p)
	items, version, saved, err := readKept(name, p.kind)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a file of the xDS cache cannot be used", "file", name, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.loaded, p.version, p.saved = true, version, saved
	if !p.fresh {
		p.kept = items
	}
}

// readKept reads a file of the cache.
func readKept(name string, k *kind) (items []item, version string, saved time.Time, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, "", saved, err
	}
	if info.Size() > cacheMaxFile {
		return nil, "", saved, errors.New("it is too large")
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, "", saved, err
	}
	var m discoveryv3.DiscoveryResponse
	if err := proto.Unmarshal(raw, &m); err != nil {
		return nil, "", saved, err
	}
	if m.GetTypeUrl() != k.url {
		return nil, "", saved, fmt.Errorf("it holds a %q", clip(m.GetTypeUrl()))
	}
	seen := map[string]bool{}
	for _, a := range m.GetResources() {
		var w discoveryv3.Resource
		if err := a.UnmarshalTo(&w); err != nil {
			return nil, "", saved, err
		}
		if it := unwrap(&w); it.body != nil && it.name != "" && !seen[it.name] {
			seen[it.name] = true
			items = append(items, it)
		}
	}
	return items, m.GetVersionInfo(), info.ModTime(), nil
}

// write writes what has changed; everything, if it is the last time.
func (c *cache) write(last bool) {
	c.mu.Lock()
	var due []*page
	for _, p := range c.pages {
		if p.dirty && (last || !c.now().Before(p.next)) {
			p.dirty = false
			due = append(due, p)
		}
	}
	c.mu.Unlock()
	for _, p := range due {
		began := time.Now()
		err := c.save(p)
		wait := max(cacheEvery, cacheShare*time.Since(began))
		c.mu.Lock()
		p.next = c.now().Add(wait)
		p.dirty = p.dirty || err != nil
		complain, well := err != nil && !c.broken, err == nil && c.broken
		c.broken = err != nil
		c.mu.Unlock()
		if complain {
			c.log.Error("the xDS cache cannot be written; trying again", "directory", c.dir, "error", err)
		}
		if well {
			c.log.Info("the xDS cache can be written again", "directory", c.dir)
		}
	}
}

// save writes a page, unless the file holds just that.
func (c *cache) save(p *page) error {
	raw, err := p.serialize()
	if err != nil {
		return err
	}
	c.client.mu.Lock()
	known := c.client.ledgers[p.ledger.source.ID] == p.ledger
	c.client.mu.Unlock()
	if !known {
		return nil // nobody uses the source any more, which says nothing about what it has
	}
	if len(raw) > cacheMaxFile {
		return fmt.Errorf("%s are more than %d MiB", p.kind.name, cacheMaxFile>>20)
	}
	sum := maphash.Bytes(c.client.seed, raw)
	if p.written == sum {
		return nil
	}
	if err := replace(c.fileOf(p), raw); err != nil {
		return err
	}
	p.written = sum // of this goroutine only
	return nil
}

// serialize returns what is in force of a page.
func (p *page) serialize() ([]byte, error) {
	all := p.ledger.members(p.ledger.shelf(p.kind), "*")
	m := &discoveryv3.DiscoveryResponse{TypeUrl: p.kind.url, Resources: make([]*anypb.Any, 0, len(all))}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := all[name]
		m.VersionInfo = r.Version
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Message)
		if err != nil {
			return nil, err
		}
		w, err := anypb.New(&discoveryv3.Resource{Name: name, Version: r.Version, Resource: &anypb.Any{TypeUrl: p.kind.url, Value: body}})
		if err != nil {
			return nil, err
		}
		m.Resources = append(m.Resources, w)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// replace puts a file in the place of the one before, as a whole or not at all.
func replace(name string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), cacheTemp) // for the owner only
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it may not even be there
	}
	return err
}

// Stale returns what is in force that was kept of an earlier run, because its source has not answered yet.
func (c *Client) Stale() []StaleState { return c.cache.stale() }

// failing notes that a source cannot be reached, so that nobody waits for it who can be given what was kept of it.
func (c *Client) failing(l *ledger) { c.cache.fail(l) }
