package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// at is a record of the given package's function, as if it had logged.
func write(t *testing.T, l *Log, pkg string, level slog.Level, message string, args ...any) {
	t.Helper()
	const pc = 42
	l.sites.Store(uintptr(pc), &site{component: l.component(pkg), file: pkg + "/x.go", function: module + pkg + ".(*T).Do", line: 7})
	r := slog.NewRecord(time.Date(2026, 1, 2, 15, 4, 5, 6007008, time.UTC), level, message, pc)
	r.Add(args...)
	h := l.Logger().Handler()
	if !h.Enabled(context.Background(), level) {
		return
	}
	if err := h.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

func newLog(t *testing.T, o Options) (*Log, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	o.Fallback = &out
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, &out
}

func TestPatternsLayOutTheLine(t *testing.T) {
	tests := []struct{ format, want string }{
		{"[%Y-%m-%d %T.%e][%l][%n] [%g:%#] %v", "[2026-01-02 15:04:05.006][warning][upstream] [upstream/x.go:7] hello a=1"},
		{"%L %s %! %@ %%", "W x.go Do upstream/x.go:7 %"},
		{"%H:%M:%S %I%p %f %F %E %z", "15:04:05 03PM 006007 006007008 1767366245 +00:00"},
		{"%D|%x|%X|%R|%r|%C|%b|%B|%a|%A|%c", "01/02/26|01/02/26|15:04:05|15:04|03:04:05 PM|26|Jan|January|Fri|Friday|Fri Jan  2 15:04:05 2026"},
		{"%^%n%$ plain", "upstream plain"},
		{"%_", "hello a=1"},
	}
	for _, test := range tests {
		l, out := newLog(t, Options{Format: test.format})
		write(t, l, "upstream", slog.LevelWarn, "hello", "a", 1)
		if got := strings.TrimSuffix(out.String(), "\n"); got != test.want {
			t.Errorf("format %q:\n got %s\nwant %s", test.format, got, test.want)
		}
	}
}

func TestUnsupportedPatternsAreNamed(t *testing.T) {
	for format, want := range map[string]string{"%v %k": "%k at position 3", "%": "lone %"} {
		if _, err := New(Options{Format: format}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("format %q: error %v, want one with %q", format, err, want)
		}
	}
}

func TestValuesCannotForgeLines(t *testing.T) {
	l, out := newLog(t, Options{Format: "%v"})
	write(t, l, "upstream", slog.LevelWarn, "m", "path", "/a\n[info] forged", "empty", "", "q", `"`)
	if want := `m path="/a\n[info] forged" empty="" q="\""` + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestJSONLinesAreObjects(t *testing.T) {
	l, out := newLog(t, Options{Format: "json"})
	write(t, l, "admin", slog.LevelError, "no\nway", "n", 3, "b", true, "err", errors.New(`"x"`), slog.Group("g", "k", "v"))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]any{"time": "2026-01-02T15:04:05.006Z", "level": "error", "component": "admin", "source": "admin/x.go:7",
		"message": "no\nway", "n": 3.0, "b": true, "err": `"x"`, "g.k": "v"}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %v, want %v", k, got[k], v)
		}
	}
}

func TestComponentsFollowFromPackages(t *testing.T) {
	l, _ := newLog(t, Options{})
	for pkg, want := range map[string]string{
		"upstream": "upstream", "upstream/pool": "pool", "upstream/health": "hc", "upstream/balance": "upstream", "dispatch": "http",
		"protocol/http1": "http", "listener": "listener", "filter/network/echo": "filter", "server": "main", "main": "main",
		"config/file": "config", "other": "misc", "serverless": "misc",
	} {
		if got := l.component(pkg).name; got != want {
			t.Errorf("package %s logs under %s, want %s", pkg, got, want)
		}
	}
	if got := packageOf(module + "upstream/pool.(*Pool).Acquire.func1"); got != "upstream/pool" {
		t.Errorf("packageOf = %s", got)
	}
}

func TestLevelsOfComponents(t *testing.T) {
	l, out := newLog(t, Options{Level: "error", Components: []Setting{{"upstream", "debug"}}, Format: "%n %l"})
	write(t, l, "upstream", slog.LevelDebug, "")
	write(t, l, "upstream/pool", slog.LevelDebug, "")
	write(t, l, "admin", slog.LevelError, "")
	if want := "upstream debug\nadmin error\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	if err := l.SetLevel("", "off"); err != nil {
		t.Fatal(err)
	}
	write(t, l, "admin", Critical, "")
	if out.Len() != 0 {
		t.Errorf("off lets %q through", out)
	}
	if err := l.SetLevel("pool", "trace"); err != nil {
		t.Fatal(err)
	}
	write(t, l, "upstream/pool", Trace, "")
	if want := "pool trace\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestUnknownComponentsAndLevelsAreErrors(t *testing.T) {
	l, _ := newLog(t, Options{})
	if err := l.SetLevel("upstreams", "debug"); err == nil || !strings.Contains(err.Error(), "connection, dns") {
		t.Errorf("unknown component: %v, want an error that lists them", err)
	}
	if err := l.SetLevel("wasm", "debug"); err != nil {
		t.Errorf("a logger of Envoy's: %v", err)
	}
	if err := l.SetLevel("", "loud"); err == nil || !strings.Contains(err.Error(), `"loud"`) {
		t.Errorf("unknown level: %v", err)
	}
	for _, bad := range []string{"upstream", ":debug", "upstream:loud"} {
		if _, err := ParseComponents(bad); err == nil {
			t.Errorf("ParseComponents(%q) took it", bad)
		}
	}
	got, err := ParseComponents("upstream:debug,http:trace")
	if err != nil || len(got) != 2 || got[1] != (Setting{"http", "trace"}) {
		t.Errorf("ParseComponents = %v, %v", got, err)
	}
}

func TestReopenFollowsAMovedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weft.log")
	l, err := New(Options{Path: path, Format: "%v"})
	if err != nil {
		t.Fatal(err)
	}
	l.Logger().Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Logger().Info("two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Logger().Info("lost")
	for name, want := range map[string]string{path + ".1": "one\n", path: "two\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := New(Options{Path: filepath.Join(dir, "no", "such")}); err == nil || !strings.Contains(err.Error(), "no/such") {
		t.Errorf("unusable path: %v", err)
	}
}

func TestTheCallSiteIsInTheLine(t *testing.T) {
	l, out := newLog(t, Options{})
	l.Logger().With("k", "v").WithGroup("g").Info("hello", "a", 1)
	if !regexp.MustCompile(`^\[\d{4}-.*\]\[\d+\]\[info\]\[misc\] \[internal/logging/log_test.go:\d+\] hello k=v g.a=1\n$`).Match(out.Bytes()) {
		t.Errorf("got %q", out)
	}
}
