package xds

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/internal/fswatch"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

const (
	// maxFile bounds a file of resources, in bytes.
	maxFile = 256 << 20
	// mostLogged is how many problems of one version of a file are logged.
	mostLogged = 20
)

// pathOf returns the file of a source, and the directory whose changes count, too; "", "" for other sources.
func pathOf(cs *corev3.ConfigSource) (path, dir string) {
	switch x := cs.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_PathConfigSource:
		return x.PathConfigSource.GetPath(), x.PathConfigSource.GetWatchedDirectory().GetPath()
	case *corev3.ConfigSource_Path:
		return x.Path, ""
	}
	return "", ""
}

// checkPath reports what is wrong with a source that is a file.
func checkPath(cs *corev3.ConfigSource, at resource.Path, p *resource.Problems) {
	path, dir := pathOf(cs)
	where, whereDir := at.Field("path"), at
	if cs.GetPathConfigSource() != nil {
		where = at.Field("path_config_source").Field("path")
		whereDir = at.Field("path_config_source").Field("watched_directory").Field("path")
	}
	info, err := os.Stat(path)
	switch {
	case path == "":
		p.Errorf(where, "", "value length must be at least 1 characters")
	case err != nil:
		p.Errorf(where, "the file may be empty of resources (`resources: []`), but has to be there",
			"paths must refer to an existing path in the system: '%s' does not exist", path)
	case info.IsDir():
		p.Errorf(where, "", "'%s' is a directory, want a file", path)
	}
	if dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			p.Errorf(whereDir, "", "paths must refer to an existing path in the system: '%s' is no directory", dir)
		}
	}
}

// A fileRunner is a source that is a file: the state of the world of one type, or of several. The goroutine of run owns it but state.
type fileRunner struct {
	client *Client
	ledger *ledger
	path   string
	dir    string

	doc       *document // the last that could be read; nil before
	sum       uint64    // of its text
	version   string
	complaint map[string]string // what was last logged, by kind; "" for the whole file
	wanted    map[*kind]map[string]bool

	mu    sync.Mutex
	state fileState
}

// A fileState is what is known of a file, for people.
type fileState struct {
	read, failed time.Time // the last time it was; zero: never
	err          string
	topics       map[*kind]topicState
	since        time.Time
}

func newFileRunner(c *Client, l *ledger) *fileRunner {
	f := &fileRunner{client: c, ledger: l, complaint: map[string]string{}, wanted: map[*kind]map[string]bool{}}
	f.path, f.dir = pathOf(l.source.Config)
	f.state.topics = map[*kind]topicState{}
	f.state.since = time.Now()
	return f
}

// run reads the file when it has changed, and gives it to those who have come to want something of it, until ctx ends.
func (f *fileRunner) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	watching := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(watching)
		fswatch.Run(ctx, fswatch.Options{Path: f.path, Dir: f.dir, Blind: f.blind}, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	defer func() {
		cancel()
		<-watching
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			f.wants()
			if f.read() {
				f.deliver(nil)
			}
		case <-f.ledger.changed:
			if fresh := f.wants(); f.doc != nil && len(fresh) > 0 {
				f.deliver(fresh)
			}
		}
	}
}

func (f *fileRunner) blind(err error) {
	f.client.log.Warn("a file of resources cannot be watched; it is looked at every second", "file", f.path, "error", err)
}

// wants takes note of what is wanted, and returns what is new in it.
func (f *fileRunner) wants() map[*kind][]string {
	fresh := map[*kind][]string{}
	for i := range kinds {
		k := &kinds[i]
		left := false
		for _, w := range f.ledger.news(k) {
			if f.wanted[k] == nil {
				f.wanted[k] = map[string]bool{}
			}
			if w.On {
				f.wanted[k][w.Name] = true
				fresh[k] = append(fresh[k], w.Name)
				continue
			}
			delete(f.wanted[k], w.Name)
			left = true
		}
		if left {
			f.ledger.leave(k)
		}
		if len(f.wanted[k]) == 0 {
			delete(f.wanted, k)
			delete(fresh, k)
		}
	}
	return fresh
}

// read reads the file, and reports whether there is something new in it. What cannot be read leaves what was there before.
func (f *fileRunner) read() bool {
	before := fswatch.Sign(f.path)
	raw, err := readFile(f.path)
	if fswatch.Sign(f.path) != before {
		return false // it is being written: there will be another change
	}
	if err != nil {
		f.unreadable([]resource.Problem{{Kind: resource.Syntax, File: f.path, Message: err.Error()}})
		return false
	}
	h := fnv.New64a()
	_, _ = h.Write(raw) // never fails
	sum := h.Sum64()
	if f.doc != nil && sum == f.sum && f.complaint[""] == "" {
		return false
	}
	doc := f.client.parse(f.path, raw, true)
	if doc.source == nil || doc.broken {
		f.unreadable(doc.problems[-1])
		return false
	}
	f.well("")
	f.doc, f.sum = doc, sum
	if f.version = doc.message.GetVersionInfo(); f.version == "" {
		f.version = strconv.FormatUint(sum, 16)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.read, f.state.err = time.Now(), ""
	return true
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", plain(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is no regular file")
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", plain(err))
	}
	return raw, nil
}

// unreadable notes that nothing can be made of the file as it is. It is logged once.
func (f *fileRunner) unreadable(problems []resource.Problem) {
	for k, names := range f.wanted {
		for name := range names {
			f.client.o.Hub.Fail(f.ledger.source, resource.Key{Type: k.name, Name: name})
		}
	}
	f.client.failing(f.ledger)
	text := f.complain("", "a file of resources cannot be read; what it said before stays", problems)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.failed, f.state.err = time.Now(), text
}

// complain logs problems, unless they are those that were logged last, and returns them as text.
func (f *fileRunner) complain(about, message string, problems []resource.Problem) string {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		if p.Severity == resource.Error {
			lines = append(lines, p.String())
		}
	}
	text := strings.Join(lines, "\n")
	if f.complaint[about] == text {
		return text
	}
	f.complaint[about] = text
	for i, line := range lines {
		if i == mostLogged {
			f.client.log.Error("there are more problems", "file", f.path, "problems", len(lines)-i)
			break
		}
		f.client.log.Error(message, "file", f.path, "problem", line)
	}
	return text
}

// well notes that there is no complaint any more.
func (f *fileRunner) well(about string) {
	if f.complaint[about] != "" {
		f.client.log.Info("a file of resources is good again", "file", f.path)
	}
	delete(f.complaint, about)
}

// deliver gives what the file says to those who want it: all, or, where fresh is not nil, those names.
func (f *fileRunner) deliver(fresh map[*kind][]string) {
	for i := range kinds {
		k := &kinds[i]
		names, some := fresh[k]
		if len(f.wanted[k]) == 0 || fresh != nil && !some {
			continue
		}
		r := f.doc.response(k, f.version, len(f.wanted) == 1)
		part := !k.whole && fresh != nil && !slices.ContainsFunc(names, isGlob)
		if part {
			r.items = slices.DeleteFunc(r.items, func(it item) bool { return !slices.Contains(names, nameOf(&it)) })
		}
		f.absent(k, r, names)
		rejected := f.client.take(f.ledger.source, r)
		f.settle(k, r, rejected, part)
	}
}

func isGlob(name string) bool { return strings.HasSuffix(name, subscription.All) }

// nameOf returns the name of an item.
func nameOf(it *item) string {
	if it.name != "" || it.body == nil {
		return it.name
	}
	return nameIn(it.body.GetValue())
}

// absent says which names somebody waits for that the file does not have.
func (f *fileRunner) absent(k *kind, r *response, names []string) {
	have := make(map[string]bool, len(r.items))
	for i := range r.items {
		have[nameOf(&r.items[i])] = true
	}
	if names == nil {
		for name := range f.wanted[k] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		key := resource.Key{Type: k.name, Name: name}
		if !have[name] && !isGlob(name) && f.ledger.get(f.ledger.shelf(k), name) == nil {
			f.client.log.Warn("a file of resources does not have one that is wanted of it", "file", f.path, "resource", key.String())
		}
	}
}

// settle notes what became of a version of the file; of a part of it, if it was already there and somebody has come to want more of it.
func (f *fileRunner) settle(k *kind, r *response, rejected []resource.Rejection, part bool) {
	about := k.name
	if part {
		about += " (part)"
	}
	nack := ""
	if len(rejected) > 0 {
		nack = f.complain(about, "a resource of a file is rejected; what was good before stays", f.doc.locate(k, rejected))
	} else if !part {
		f.well(about)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if part && nack == "" {
		nack = f.state.topics[k].nack
	}
	f.state.topics[k] = topicState{
		kind: k, names: len(f.wanted[k]), wildcard: f.wanted[k][subscription.All], version: r.version, nack: nack,
	}
}

// plain leaves out the path, which messages have already.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// states returns what is known of the file.
func (f *fileRunner) states() []StreamState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := StreamState{
		Source: f.ledger.source.String(), Transport: "file", API: "FILESYSTEM", Connected: f.state.err == "" && !f.state.read.IsZero(),
		Since: f.state.since, LastError: f.state.err, LastErrorAt: f.state.failed,
	}
	if !f.state.read.IsZero() {
		s.Streams, s.Since = 1, f.state.read
	}
	for i := range kinds {
		if t, ok := f.state.topics[&kinds[i]]; ok {
			s.Types = append(s.Types, t.shown(time.Time{}, f.state.read))
		}
	}
	return []StreamState{s}
}

// shown returns the state for people.
func (t topicState) shown(asked, came time.Time) TypeState {
	return TypeState{
		Type: t.kind.name, URL: t.kind.url, Names: t.names, Wildcard: t.wildcard, Version: t.version, Nonce: t.nonce,
		LastRequest: asked, LastResponse: came, Pending: t.pending, LastNACK: t.nack,
	}
}
