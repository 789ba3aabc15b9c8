package scripts

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A step is one line of a script, with its block.
type step struct {
	line  int // of the step, from 0
	words []string
	block []string // nil: there is none
}

// A section is a named part of a script.
type section struct {
	name  string
	steps []step
}

// parse reads the steps of a script.
func parse(text string) ([]section, error) {
	sections := []section{{}}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		last := &sections[len(sections)-1]
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case strings.HasPrefix(line, "== "):
			sections = append(sections, section{name: strings.TrimSpace(line[3:])})
		case line[0] == '\t':
			return nil, fmt.Errorf("line %d: a block without a step", i+1)
		default:
			words, err := split(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			s := step{line: i, words: words}
			s.block = blockAfter(lines[i+1:])
			i += len(s.block)
			last.steps = append(last.steps, s)
		}
	}
	return sections, nil
}

// blockAfter is the block at the beginning of lines. Empty lines belong to it when an indented one follows, or when they are
// indented themselves.
func blockAfter(lines []string) []string {
	n := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "\t") {
			n = i + 1
		} else if line != "" {
			break
		}
	}
	var block []string
	for _, line := range lines[:n] {
		block = append(block, strings.TrimPrefix(line, "\t"))
	}
	return block
}

// split cuts a line into words; one that begins with a quote is a Go string.
func split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("bad quotes in %q", line)
		}
		word, _ := strconv.Unquote(quoted) // it is a quoted prefix
		words, line = append(words, word), line[len(quoted):]
	}
	return words, nil
}

// bytesOf is what a block stands for.
func bytesOf(block []string) ([]byte, error) {
	var b []byte
	body, quoted := false, false
	for i, line := range block {
		switch {
		case strings.HasPrefix(line, `"`):
			s, err := strconv.Unquote(line)
			if err != nil {
				return nil, fmt.Errorf("bad quotes in %q", line)
			}
			b, quoted = append(b, s...), true
		case body && i == len(block)-1:
			b = append(b, line...)
		default:
			b = append(append(b, line...), "\r\n"...)
			body = body || line == ""
		}
	}
	if !body && !quoted {
		b = append(b, "\r\n"...)
	}
	return b, nil
}

// match reports whether a line is as expected: * stands for any characters.
func match(pattern, line string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == line
	}
	rest, ok := strings.CutPrefix(line, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// matchAll reports whether lines are as expected.
func matchAll(want, got []string) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !match(want[i], got[i]) {
			return false
		}
	}
	return true
}

// rewritten is what a block becomes when it should expect got: lines that match already stay as they are.
func rewritten(want, got []string) []string {
	out := make([]string, 0, len(got))
	used := map[int]bool{}
	for _, line := range got {
		keep := volatile(line)
		for i, pattern := range want {
			if !used[i] && match(pattern, line) {
				keep, used[i] = pattern, true
				break
			}
		}
		out = append(out, keep)
	}
	return out
}

// ephemeral is an address whose port the system chose.
var ephemeral = regexp.MustCompile(`127\.0\.0\.1:[0-9]{4,}`) // immutable

// volatile is the line with what differs from run to run replaced by *.
func volatile(line string) string {
	line = ephemeral.ReplaceAllString(line, "127.0.0.1:*")
	name, _, ok := strings.Cut(line, ": ")
	switch strings.ToLower(name) {
	case "date", "x-request-id", "x-envoy-upstream-service-time":
		if ok {
			return name + ": *"
		}
	}
	return line
}
