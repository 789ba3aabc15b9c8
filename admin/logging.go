package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// levels are Envoy's log levels, the most talkative first.
func levels() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

// logging changes levels and lists them.
func (s *Server) logging(c *call) {
	if s.state.Loggers == nil || s.state.SetLevel == nil {
		c.missing("logging")
		return
	}
	var b strings.Builder
	status := http.StatusOK
	if err := s.setLevels(c); err != nil {
		status = http.StatusBadRequest
		fmt.Fprintf(&b, "error: %v\n\n", err)
		b.WriteString("usage: /logging?<name>=<level> (change single level)\n")
		b.WriteString("usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n")
		b.WriteString("usage: /logging?level=<level> (change all levels)\n")
		fmt.Fprintf(&b, "levels: %s \n", strings.Join(levels(), " "))
	}
	b.WriteString("active loggers:\n")
	for _, l := range s.state.Loggers() {
		fmt.Fprintf(&b, "  %s: %s\n", l.Name, l.Level)
	}
	b.WriteByte('\n')
	c.text(status, b.String())
}

// A levelChange is one logger's new level.
type levelChange struct{ logger, level string }

// setLevels changes what the parameters say: all of it or, if part of it is wrong, nothing. Its errors repeat nothing of the
// request.
func (s *Server) setLevels(c *call) error {
	given := slices.DeleteFunc(slices.Clone(c.query), func(p pair) bool {
		return p.value == "" && (p.name == "paths" || p.name == "level") // a form's field left empty
	})
	if len(given) == 0 {
		return nil
	}
	if len(given) != 1 {
		return errors.New("invalid number of parameters")
	}
	changes, err := s.levelChanges(given[0])
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := s.state.SetLevel(change.logger, change.level); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) levelChanges(p pair) ([]levelChange, error) {
	loggers := s.state.Loggers()
	var wanted []levelChange
	switch p.name {
	case "level":
		for _, l := range loggers {
			wanted = append(wanted, levelChange{l.Name, p.value})
		}
	case "paths":
		for part := range strings.SplitSeq(p.value, ",") {
			name, level, _ := strings.Cut(part, ":")
			name, level = strings.TrimSpace(name), strings.TrimSpace(level)
			if name == "" || level == "" {
				return nil, errors.New("empty logger name or empty logger level")
			}
			wanted = append(wanted, levelChange{name, level})
		}
	default:
		wanted = []levelChange{{p.name, p.value}}
	}
	for i, w := range wanted {
		if w.level == "warn" {
			wanted[i].level = "warning"
		}
		if !slices.Contains(levels(), wanted[i].level) {
			return nil, errors.New("unknown logger level")
		}
		if !slices.ContainsFunc(loggers, func(l Logger) bool { return l.Name == w.logger }) {
			return nil, errors.New("unknown logger name")
		}
	}
	return wanted, nil
}
