// Package examples tests the examples: each is run, and every command on its page is executed and must print what the page says.
package examples

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/config/quick"
	"github.com/weftproxy/weft/internal/demo"
	"github.com/weftproxy/weft/test/kit"
)

// A command is a line of a page that can be executed, with what it prints.
type command struct{ line, want string }

// blocks are the fenced blocks of a page in this language.
func blocks(page, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

// commands are the curl lines of a page.
func commands(page string) []command {
	var out []command
	for _, block := range blocks(page, "console") {
		for part := range strings.SplitSeq("\n"+block, "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			if strings.HasPrefix(line, "curl ") {
				out = append(out, command{line, strings.TrimSpace(want)})
			}
		}
	}
	return out
}

// matches reports whether got is as wanted; * stands for anything.
func matches(want, got string) bool {
	parts := strings.Split(want, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$").MatchString(got)
}

// freePort is a loopback port on which nothing listens at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // that is the point
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// ports replaces the ports that the pages name by free ones.
type ports map[string]string

func (p ports) in(text string) string {
	for documented, free := range p {
		for _, before := range []string{"port_value: ", "port_redirect: ", "localhost:", "127.0.0.1:"} {
			// The mark keeps a free port from being taken for a documented one.
			text = strings.ReplaceAll(text, before+documented, before+"\x00"+free)
		}
	}
	return strings.ReplaceAll(text, "\x00", "")
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// configuration reads one. Files that it names from an example's directory it names absolutely: Weft runs elsewhere here.
func configuration(t *testing.T, path string) string {
	t.Helper()
	dir, err := filepath.Abs("certificates")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(read(t, path), "../certificates", dir)
}

// demonstration is the configuration of weft run --demo, on this port.
func demonstration(t *testing.T, upstream, port string) string {
	t.Helper()
	b, err := quick.Default(upstream)
	if err != nil {
		t.Fatal(err)
	}
	b.Admin = nil
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := net.SplitHostPort(quick.DefaultListen)
	// JSON is YAML, which takes the admin page as one more field.
	return "{ {{admin}}, " + regexp.MustCompile(`("portValue":\s*)`+documented).ReplaceAllString(string(text)[1:], "${1}"+port)
}

// upstreams starts what the examples need behind them.
func upstreams(t *testing.T) ports {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := demo.Start(ln, nil)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Log(err)
		}
	})
	p := ports{"10000": freePort(t)}
	for _, documented := range []string{"8001", "8002", "8003", "8009", "8444", "8445"} {
		p[documented] = freePort(t)
	}
	kit.New(t).Start(demonstration(t, ln.Addr().String(), p["10000"]))
	kit.New(t).Start("{{admin}}\n" + p.in(read(t, "upstreams.yaml")))
	kit.New(t).Start("{{admin}}\n" + p.in(configuration(t, "upstreams-tls.yaml")))
	return p
}

func TestExamples(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("curl is not installed")
	}
	shared := upstreams(t)
	configs, err := filepath.Glob("*/envoy.yaml")
	if err != nil || len(configs) < 10 {
		t.Fatalf("there are %d examples, %v", len(configs), err)
	}
	for _, config := range configs {
		dir := filepath.Dir(config)
		t.Run(dir, func(t *testing.T) {
			p := ports{}
			for _, documented := range []string{"8080", "8443", "9902"} {
				p[documented] = freePort(t)
			}
			for documented, free := range shared {
				p[documented] = free
			}
			weft := kit.New(t).Start(p.in(configuration(t, config)))
			page := read(t, filepath.Join(dir, "README.md"))
			all := commands(page)
			if len(all) == 0 {
				t.Fatal("the page has no curl commands")
			}
			for _, c := range all {
				run(t, dir, command{p.in(c.line), p.in(c.want)})
			}
			for _, block := range blocks(page, "json") {
				for line := range strings.Lines(block) {
					printed(t, weft, p.in(strings.TrimSpace(line)))
				}
			}
		})
	}
}

// run executes a command in the example's directory; the network may need a moment to be as the page says.
func run(t *testing.T, dir string, c command) {
	t.Helper()
	cmd := exec.Command("sh", "-c", c.line)
	cmd.Dir = dir
	out, err := cmd.Output()
	got := strings.TrimRight(strings.ReplaceAll(string(out), "\r", ""), "\n ")
	got = strings.TrimSpace(got)
	if !matches(c.want, got) {
		t.Errorf("$ %s\n%s\nwant:\n%s\n(%v)", c.line, got, c.want, err)
	}
}

// printed waits until the process has printed a line.
func printed(t *testing.T, weft *kit.Weft, line string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if matches("*"+line+"*", weft.Output()) {
			return
		}
		<-tick.C
	}
	t.Error(fmt.Sprintf("weft has not printed %s; it printed:\n", line) + weft.Output())
}
