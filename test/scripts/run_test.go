package scripts

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/test/kit"
)

var update = flag.Bool("update", false, "rewrite the expectations of scripts that are blocks")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runFile(t, path)
		})
	}
}

func runFile(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sections, err := parse(string(archive.Comment))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	r := &runner{path: path, names: []string{"a"}, files: map[string]string{}, peers: map[string]*peer{}, hidden: defaultHidden()}
	for _, f := range archive.Files {
		r.files[f.Name] = string(f.Data)
	}
	fake := slices.ContainsFunc(sections[0].steps, func(s step) bool { return s.words[0] == "time" })
	if fake {
		synctest.Test(t, func(t *testing.T) { r.run(t, kit.NewInMemory(t), sections, false) })
	} else {
		r.run(t, kit.New(t), sections, true)
	}
	if *update {
		r.rewrite(t, archive)
	}
}

// A runner runs one script.
type runner struct {
	t      *testing.T
	lab    *kit.Lab
	path   string
	files  map[string]string
	names  []string // of upstreams
	peers  map[string]*peer
	hidden map[string]string // by lower-case name: the value that is hidden, "" for any
	since  map[string]int64  // bytes an upstream had received when the section began
	edits  []edit
}

// A peer is a connection of the script.
type peer struct {
	*kit.Peer
	upstream bool // it is the upstream's end
}

// An edit replaces a step's block.
type edit struct {
	step
	block []string
}

// run runs the sections, as subtests where that is possible.
func (r *runner) run(t *testing.T, lab *kit.Lab, sections []section, subtests bool) {
	r.lab = lab
	for _, s := range sections {
		body := func(t *testing.T) {
			r.t, r.since = t, map[string]int64{}
			for _, name := range r.names {
				r.since[name], _ = lab.Upstream(name).Received()
				lab.Upstream(name).Skip()
			}
			defer r.closePeers()
			for _, one := range s.steps {
				if err := r.step(one); err != nil {
					t.Fatalf("%s:%d: %s: %v", r.path, one.line+1, strings.Join(one.words, " "), err)
				}
			}
		}
		if s.name == "" || !subtests {
			body(t)
		} else if !t.Run(s.name, body) {
			t.Logf("section %q failed", s.name)
		}
	}
	r.t = t
}

// closePeers ends the connections of a section.
func (r *runner) closePeers() {
	for name, p := range r.peers {
		_ = p.Close() // most are closed already
		delete(r.peers, name)
	}
}

// rewrite writes the script back with the blocks that have changed.
func (r *runner) rewrite(t *testing.T, archive *txtar.Archive) {
	if len(r.edits) == 0 {
		return
	}
	lines := strings.Split(string(archive.Comment), "\n")
	slices.SortFunc(r.edits, func(a, b edit) int { return b.line - a.line })
	for _, e := range r.edits {
		var block []string
		for _, line := range e.block {
			if line != "" {
				line = "\t" + line
			}
			block = append(block, line)
		}
		lines = slices.Replace(lines, e.line+1, e.line+1+len(e.step.block), block...)
	}
	archive.Comment = []byte(strings.Join(lines, "\n"))
	old, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if text := txtar.Format(archive); !bytes.Equal(old, text) {
		if err := os.WriteFile(r.path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d blocks rewritten", r.path, len(r.edits))
	}
}

// expect compares a block with what there is.
func (r *runner) expect(s step, got []string) error {
	if matchAll(trimEnd(s.block), trimEnd(got)) {
		return nil
	}
	if *update {
		r.edits = append(r.edits, edit{s, rewritten(s.block, trimEnd(got))})
		return nil
	}
	return fmt.Errorf("\ngot:\n\t%s\nwant:\n\t%s", strings.Join(trimEnd(got), "\n\t"), strings.Join(trimEnd(s.block), "\n\t"))
}

// trimEnd is lines without empty ones at the end.
func trimEnd(lines []string) []string {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// contains checks that each line of the block is somewhere in text.
func contains(block []string, text string) error {
	lines := strings.Split(text, "\n")
	for _, want := range trimEnd(block) {
		if !slices.ContainsFunc(lines, func(line string) bool { return match("*"+want+"*", line) }) {
			return fmt.Errorf("%q is not in:\n%s", want, text)
		}
	}
	return nil
}

// defaultHidden are the fields that every message has, with the value that is not worth showing.
func defaultHidden() map[string]string {
	return map[string]string{
		"date": "", "server": "weft", "x-request-id": "", "x-forwarded-proto": "http", "x-envoy-upstream-service-time": "",
		"x-envoy-expected-rq-timeout-ms": "",
	}
}

func (r *runner) hide(f kit.Field) bool {
	value, ok := r.hidden[strings.ToLower(f.Name)]
	return ok && (value == "" || value == f.Value)
}
