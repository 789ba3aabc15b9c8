package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// TestFilesystemXDS follows the page of filesystem-xds, whose commands edit files, on a copy of them.
func TestFilesystemXDS(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("curl is not installed")
	}
	p := upstreams(t)
	p["8080"], p["9902"] = freePort(t), freePort(t)
	dir := t.TempDir()
	const example = "filesystem-xds"
	for _, name := range []string{"lds.yaml", "cds.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(p.in(read(t, filepath.Join(example, name)))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := p.in(read(t, filepath.Join(example, "weft.yaml")))
	for _, name := range []string{"lds.yaml", "cds.yaml"} { // Weft runs elsewhere here
		config = strings.ReplaceAll(config, "path: "+name, "path: "+filepath.Join(dir, name))
	}
	weft := kit.New(t).Start(config)
	n := 0
	for _, block := range blocks(read(t, filepath.Join(example, "README.md")), "console") {
		for part := range strings.SplitSeq("\n"+block, "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			if line == "" || strings.HasPrefix(line, "weft ") {
				continue
			}
			n++
			eventually(t, dir, command{p.in(line), p.in(strings.TrimSpace(want))}, weft)
		}
	}
	if n < 8 {
		t.Errorf("the page has %d commands", n)
	}
}

// eventually executes a command, again and again if it asks for something, until it prints what the page says.
func eventually(t *testing.T, dir string, c command, weft *kit.Weft) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	got := ""
	for range 600 {
		cmd := exec.Command("sh", "-c", c.line)
		cmd.Dir = dir
		out, err := cmd.Output()
		got = strings.TrimSpace(string(out))
		if matches(c.want, got) {
			return
		}
		if !strings.HasPrefix(c.line, "curl ") {
			t.Fatalf("$ %s\n%s\n%v", c.line, got, err)
		}
		<-tick.C
	}
	t.Fatalf("$ %s\n%s\nwant:\n%s\n%s", c.line, got, c.want, weft.Output())
}
