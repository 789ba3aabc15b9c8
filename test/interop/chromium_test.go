//go:build interop

package interop

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// debian finds a program by one of its names, or fetches the package where the tests run as root on Debian.
func debian(t *testing.T, pkg string, names ...string) string {
	t.Helper()
	found := func(name string) bool { _, err := exec.LookPath(name); return err == nil }
	if !slices.ContainsFunc(names, found) && os.Getuid() == 0 {
		if apt, err := exec.LookPath("apt-get"); err == nil {
			if _, err := run(t, 5*time.Minute, apt, "install", "-y", "-qq", "--no-install-recommends", pkg); err != nil {
				t.Logf("%v", err)
			}
		}
	}
	return tool(t, names...)
}

// pageParts are what the page reports when all is well; stream says that the parts of a body came one by one.
var pageParts = []string{"events=5", "gzip=50000", "pictures=20", "post=100000", "redirect=true/GET /target", "socket=70006/1000/true", "stream=true/500",
	"style=rgb(1, 2, 3)"}

// TestChromiumLoadsAPage has Chromium load a page with pictures, a streamed fetch, an EventSource and a WebSocket, and print what came of it.
func TestChromiumLoadsAPage(t *testing.T) {
	path := debian(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	w := startWeft(t, startNode(t), setup{})
	out, err := run(t, 2*patience, path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
		"--disable-background-networking", "--user-data-dir="+t.TempDir(), "--dump-dom", "http://"+w.addr+"/page")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range pageParts {
		if !strings.Contains(out, part) {
			t.Errorf("no %s in the page", part)
		}
	}
	if t.Failed() {
		t.Log(tail(out))
	}
	w.becomes("http.main.downstream_cx_upgrades_active", 0)
	w.becomes("http.main.downstream_rq_active", 0)
	if n := w.stat("http.main.downstream_rq_5xx"); n != 0 {
		t.Errorf("%d answers of 5xx", n)
	}
}
