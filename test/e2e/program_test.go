package e2e

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftproxy/weft/config/quick"
)

// TestDemoRuns is what `make run` does. Where the demo's ports are taken the same is done on others.
func TestDemoRuns(t *testing.T) {
	for _, addr := range []string{quick.DefaultListen, quick.DefaultAdmin} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("the demo's port is taken: %v", err)
		}
		_ = ln.Close() // only tried
	}
	p := start(t, "run", "--demo")
	p.ready(quick.DefaultListen)
	if got := curl(t, "http://"+quick.DefaultListen+"/"); !strings.Contains(got, "Hello") {
		t.Errorf("the demo says %q", got)
	}
	if got := curl(t, "-o", "/dev/null", "-w", "%{http_code}", "http://"+quick.DefaultListen+"/status/503"); got != "503" {
		t.Errorf("/status/503 is %s", got)
	}
	if got := curl(t, "-d", "a body", "http://"+quick.DefaultListen+"/echo"); !strings.Contains(got, "a body") || !strings.Contains(got, "POST /echo") {
		t.Errorf("/echo is %q", got)
	}
	if got := curl(t, "http://"+quick.DefaultAdmin+"/ready"); got != "LIVE\n" {
		t.Errorf("/ready is %q", got)
	}
	if got := curl(t, "http://"+quick.DefaultAdmin+"/stats?filter=downstream_rq_2xx"); !strings.Contains(got, "downstream_rq_2xx: 2") {
		t.Errorf("the statistics are %q", got)
	}
	if out := p.out.String(); !strings.Contains(out, quick.DefaultListen) {
		t.Errorf("the program does not say what to try: %q", out)
	}
}

func TestBalancerInOneLine(t *testing.T) {
	a, b := startDemo(t), startDemo(t)
	_, from := proxy(t, "http://"+a+",http://"+b)
	if got := curl(t, "http://"+from+"/headers"); !strings.Contains(got, "Host: "+from) {
		t.Errorf("got %q", got)
	}
}

// TestValidateOfRealFiles runs `weft validate` over bootstrap files that people have written for Envoy: it accepts a file or names
// what it does not support; it does not crash and does not say nothing.
func TestValidateOfRealFiles(t *testing.T) {
	files, err := filepath.Glob("../../../shared/data/envoy-configs/*")
	if err != nil || len(files) == 0 {
		missing(t, "the corpus of Envoy bootstrap files is not there")
	}
	placed := regexp.MustCompile(`(?m)^.*:[0-9]+:[0-9]+: error: .`) // file, line and column of what is wrong
	accepted, named := 0, 0
	for _, file := range files {
		out, err := exec.Command(binary, "validate", "-c", file).CombinedOutput()
		text := string(out)
		var exit *exec.ExitError
		switch {
		case strings.Contains(text, "panic:") || strings.Contains(text, "goroutine "):
			t.Errorf("%s: crash:\n%s", filepath.Base(file), text)
		case err == nil && strings.Contains(text, "OK"):
			accepted++
		case errors.As(err, &exit) && exit.ExitCode() == 1 && placed.MatchString(text):
			named++
		default:
			t.Errorf("%s: %v:\n%s", filepath.Base(file), err, text)
		}
	}
	t.Logf("%d files: %d accepted, %d refused with the fields named", len(files), accepted, named)
}
