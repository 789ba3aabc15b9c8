package accesslog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/weftproxy/weft/observe/stats"
)

// Defaults of the command line's --file-flush-interval-msec and --file-flush-min-size-kb, and how much may wait for a disk.
const (
	DefaultFlushInterval = 10 * time.Second
	DefaultFlushSize     = 64 << 10
	maxWaiting           = 8 << 20
)

// FilesOptions say how files are written.
type FilesOptions struct {
	FlushInterval  time.Duration // an entry waits at most this long; 0: DefaultFlushInterval
	FlushSize      int           // bytes from which the buffer is written at once; 0: DefaultFlushSize
	Stdout, Stderr io.Writer     // nil: the process's own
	Stats          *stats.Store  // filesystem.*; nil: not counted where it can be seen
}

// Files are the files that access logs are written to, shared by path and open until Close. Safe for concurrent use.
type Files struct {
	interval       time.Duration
	size           int
	stdout, stderr io.Writer
	count          counters

	mu    sync.Mutex
	files map[string]*File // guarded by mu
}

// counters are the statistics under filesystem.
type counters struct {
	completed, buffered, failed, byTimer, reopenFailed *stats.Counter
	waiting                                            *stats.Gauge
}

// NewFiles returns a table without files.
func NewFiles(o FilesOptions) *Files {
	if o.FlushInterval <= 0 {
		o.FlushInterval = DefaultFlushInterval
	}
	if o.FlushSize <= 0 {
		o.FlushSize = DefaultFlushSize
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Stats == nil {
		o.Stats = stats.NewStore(stats.Options{})
	}
	sc := o.Stats.Scope("filesystem.")
	return &Files{
		interval: o.FlushInterval, size: o.FlushSize, stdout: o.Stdout, stderr: o.Stderr, files: map[string]*File{},
		count: counters{completed: sc.Counter("write_completed"), buffered: sc.Counter("write_buffered"), failed: sc.Counter("write_failed"),
			byTimer: sc.Counter("flushed_by_timer"), reopenFailed: sc.Counter("reopen_failed"), waiting: sc.Gauge("write_total_buffered")},
	}
}

// Open returns the file of that path, opened for appending and created if need be. /dev/stdout and /dev/stderr are the
// process's own, whatever they are connected to.
func (fs *Files) Open(path string) (*File, error) {
	switch path {
	case "":
		return nil, errors.New("the path is empty")
	case "/dev/stdout":
		return fs.Stdout(), nil
	case "/dev/stderr":
		return fs.Stderr(), nil
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.files[path]; f != nil {
		return f, nil
	}
	out, err := openFile(path)
	if err != nil {
		return nil, fmt.Errorf("unable to open file %q: %w", path, err)
	}
	return fs.add(path, out), nil
}

// Stdout returns the process's standard output as a file.
func (fs *Files) Stdout() *File { return fs.standard("/dev/stdout", fs.stdout) }

// Stderr returns the process's standard error as a file.
func (fs *Files) Stderr() *File { return fs.standard("/dev/stderr", fs.stderr) }

func (fs *Files) standard(path string, out io.Writer) *File {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.files[path]; f != nil {
		return f
	}
	return fs.add(path, nopCloser{out})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// add is called with mu held.
func (fs *Files) add(path string, out io.WriteCloser) *File {
	f := &File{path: path, set: fs, out: out}
	f.timer = time.AfterFunc(time.Hour, f.tick)
	f.timer.Stop()
	fs.files[path] = f
	return f
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
}

// Reopen makes every file be opened again by its path, after a log rotation has renamed it. What was buffered before goes to the old
// file. A file that cannot be opened stays as it is, is counted in filesystem.reopen_failed and is part of the error.
func (fs *Files) Reopen() error {
	var errs []error
	for _, f := range fs.list() {
		if err := f.reopen(); err != nil {
			fs.count.reopenFailed.Inc()
			errs = append(errs, fmt.Errorf("unable to reopen file %q: %w", f.path, err))
		}
	}
	return errors.Join(errs...)
}

// Flush writes out everything that is buffered. It blocks on the disk.
func (fs *Files) Flush() {
	for _, f := range fs.list() {
		f.flush()
	}
}

// Close flushes and closes all files. Entries logged later are dropped.
func (fs *Files) Close() {
	for _, f := range fs.list() {
		f.close()
	}
}

func (fs *Files) list() []*File {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]*File, 0, len(fs.files))
	for _, f := range fs.files {
		all = append(all, f)
	}
	return all
}

// A File collects lines and writes them in large pieces, in order. Safe for concurrent use.
type File struct {
	path  string
	set   *Files
	timer *time.Timer

	mu     sync.Mutex
	buf    []byte // what waits to be written; guarded by mu
	urgent bool   // the buffer is full, the timer fires at once; guarded by mu
	busy   bool   // the timer's function is running; guarded by mu
	closed bool   // guarded by mu

	// Held while writing; taken before mu where both are.
	writing sync.Mutex
	spare   []byte         // the other buffer; guarded by writing
	out     io.WriteCloser // guarded by writing
}

// Write appends a whole entry. It does not wait for the disk: when 8 MiB wait already the entry is dropped and counted in
// filesystem.write_failed.
func (f *File) Write(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.buf)+len(line) > maxWaiting {
		f.set.count.failed.Inc()
		return
	}
	f.set.count.buffered.Inc()
	f.set.count.waiting.Add(int64(len(line)))
	first := len(f.buf) == 0
	f.buf = append(f.buf, line...)
	switch {
	case len(f.buf) >= f.set.size && !f.urgent:
		f.urgent = true
		f.wake()
	case first && !f.urgent:
		f.wake()
	}
}

// wake makes the timer fire when it has to. While its function runs that does so itself, so that there is one at most. mu is held.
func (f *File) wake() {
	switch {
	case f.busy:
	case f.urgent:
		f.timer.Reset(0)
	default:
		f.timer.Reset(f.set.interval)
	}
}

// tick is the timer: the buffer is full, or has waited long enough.
func (f *File) tick() {
	f.mu.Lock()
	f.busy = true
	if !f.urgent {
		f.set.count.byTimer.Inc()
	}
	f.mu.Unlock()
	f.flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy = false
	if len(f.buf) > 0 && !f.closed {
		f.wake()
	}
}

func (f *File) flush() {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.flushLocked()
}

// flushLocked writes what is buffered. writing is held.
func (f *File) flushLocked() {
	f.mu.Lock()
	full := f.buf
	f.buf, f.urgent = f.spare[:0], false
	f.mu.Unlock()
	f.spare = full
	if len(full) == 0 {
		return
	}
	if _, err := f.out.Write(full); err != nil {
		f.set.count.failed.Inc()
	} else {
		f.set.count.completed.Inc()
	}
	f.set.count.waiting.Add(-int64(len(full)))
	if cap(full) > 4*f.set.size {
		f.spare = nil // a burst is over; do not keep its memory
	}
}

func (f *File) reopen() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.flushLocked()
	if _, standard := f.out.(nopCloser); standard {
		return nil
	}
	out, err := openFile(f.path)
	if err != nil {
		return err
	}
	old := f.out
	f.out = out
	return old.Close()
}

func (f *File) close() {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	already := f.closed
	f.closed = true
	f.mu.Unlock()
	if already {
		return
	}
	f.timer.Stop()
	f.flushLocked()
	if err := f.out.Close(); err != nil {
		f.set.count.failed.Inc()
	}
}
