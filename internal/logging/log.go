package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// Options say where the log goes and what it looks like.
type Options struct {
	Level      string    // "": info
	Components []Setting // levels that differ from Level
	Format     string    // a pattern (see ParsePattern), or "json"; "": DefaultFormat
	Path       string    // the file to append to; "": Fallback
	Fallback   io.Writer // nil: standard error
}

// A Log is the process's own log. Safe for concurrent use.
type Log struct {
	components []*component // immutable; their levels are atomic
	least      level        // of all components: what is below it is dropped before anything else
	sites      sync.Map     // of *site by program counter

	mu     sync.Mutex
	layout layout
	path   string
	file   *os.File // nil: fallback
	out    io.Writer
	buf    []byte
}

// New opens the log. The caller closes it.
func New(o Options) (*Log, error) {
	l := &Log{components: components(), path: o.Path, out: o.Fallback}
	if l.out == nil {
		l.out = os.Stderr
	}
	if o.Level == "" {
		o.Level = "info"
	}
	if err := l.SetLevel("", o.Level); err != nil {
		return nil, err
	}
	for _, c := range o.Components {
		if err := l.SetLevel(c.Component, c.Level); err != nil {
			return nil, err
		}
	}
	if err := l.SetFormat(o.Format); err != nil {
		return nil, err
	}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// SetFormat changes what the lines look like: see Options.Format.
func (l *Log) SetFormat(format string) error {
	to, err := parseLayout(format)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.layout = to
	return nil
}

// Reopen opens the file anew, after it was moved away. Without a file it does nothing. If it fails the old file stays in use.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	l.file, l.out = f, f
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close closes the file; later records are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	l.out = io.Discard
	return l.file.Close()
}

// Logger returns a logger that writes to l.
func (l *Log) Logger() *slog.Logger { return slog.New(&handler{log: l}) }

// handler is the slog.Handler of a Log, with the attributes that With has added.
type handler struct {
	log   *Log
	group string // of attributes to come: "a.b."
	attrs []field
}

// A field is an attribute with its whole name.
type field struct {
	name  string
	value slog.Value
}

// Enabled reports whether any component logs this level; Handle knows which it is.
func (h *handler) Enabled(_ context.Context, at slog.Level) bool { return at >= h.log.least.get() }

// Handle writes one line.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	s := h.log.site(r.PC)
	if r.Level < s.component.level.get() {
		return nil
	}
	fields := slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		fields = flatten(fields, h.group, a)
		return true
	})
	return h.log.write(&line{Record: r, site: s, fields: fields})
}

// WithAttrs returns a handler that adds attributes to each line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		c.attrs = flatten(c.attrs, h.group, a)
	}
	return &c
}

// WithGroup returns a handler that puts name and a dot before the names of attributes to come.
func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.group += name + "."
	}
	return &c
}

// flatten appends an attribute; a group becomes its members.
func flatten(to []field, group string, a slog.Attr) []field {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key == "" && v.Any() == nil {
			return to
		}
		return append(to, field{group + a.Key, v})
	}
	if a.Key != "" {
		group += a.Key + "."
	}
	for _, member := range v.Group() {
		to = flatten(to, group, member)
	}
	return to
}

// maxLine bounds the buffer that is kept between lines.
const maxLine = 64 << 10

func (l *Log) write(one *line) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.layout.appendLine(l.buf[:0], one), '\n')
	_, err := l.out.Write(l.buf)
	if cap(l.buf) > maxLine {
		l.buf = nil
	}
	if errors.Is(err, os.ErrClosed) {
		return nil // at exit
	}
	return err
}
