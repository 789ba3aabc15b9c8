package logging

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
)

// Envoy's levels beyond slog's four.
const (
	Trace    = slog.Level(-8)
	Critical = slog.Level(12)
	Off      = slog.Level(math.MaxInt32)
)

// level is a slog.Level that changes while others read it.
type level struct{ v atomic.Int32 }

func (l *level) set(to slog.Level) { l.v.Store(int32(to)) }
func (l *level) get() slog.Level   { return slog.Level(l.v.Load()) }

// ParseLevel reads a level as Envoy spells it: trace, debug, info, warning or warn, error, critical, off.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "trace":
		return Trace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "err":
		return slog.LevelError, nil
	case "critical":
		return Critical, nil
	case "off":
		return Off, nil
	}
	return 0, fmt.Errorf("unknown log level %q: want trace, debug, info, warning, error, critical or off", s)
}

// LevelName is how Envoy spells a level.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warning"
	case l < Critical:
		return "error"
	case l < Off:
		return "critical"
	}
	return "off"
}

// A Setting is the level of one component.
type Setting struct{ Component, Level string }

// ParseComponents reads --component-log-level: "upstream:debug,connection:trace".
func ParseComponents(s string) ([]Setting, error) {
	var out []Setting
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, text, ok := strings.Cut(part, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("component log level %q: want component:level", part)
		}
		if _, err := ParseLevel(text); err != nil {
			return nil, fmt.Errorf("component %q: %w", name, err)
		}
		out = append(out, Setting{name, text})
	}
	return out, nil
}

// Levels returns the level of each component, sorted by name.
func (l *Log) Levels() []Setting {
	out := make([]Setting, len(l.components))
	for i, c := range l.components {
		out[i] = Setting{c.name, LevelName(c.level.get())}
	}
	return out
}

// SetLevel sets the level of a component, of all of them when component is empty. An unknown component or level is an error
// and changes nothing.
func (l *Log) SetLevel(component, text string) error {
	to, err := ParseLevel(text)
	if err != nil {
		return err
	}
	if component != "" && l.find(component) == nil && !strings.Contains(silent, " "+component+" ") {
		return l.errUnknown(component)
	}
	least := Off
	for _, c := range l.components {
		if component == "" || c.name == component {
			c.level.set(to)
		}
		least = min(least, c.level.get())
	}
	l.least.set(least)
	return nil
}
