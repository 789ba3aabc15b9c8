//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const caddyVersion = "v2.11.9"

var errNoStream = errors.New("nginx has no stream module (Debian: libnginx-mod-stream)")

// tools are the programs the bench runs.
type tools struct {
	wrk, h2load, ghz            string // paths; empty when not needed
	nginx, haproxy, caddy, weft string
	nginxStream                 bool   // nginx can proxy TCP
	streamModule                string // the module file that takes; empty when built in
}

func (t *tools) binary(tool string) string {
	switch tool {
	case "nginx":
		return t.nginx
	case "haproxy":
		return t.haproxy
	case "caddy":
		return t.caddy
	}
	return t.weft
}

// findTools locates what the chosen scenarios and proxies need, and installs or
// builds what is missing.
func (b *bench) findTools(ctx context.Context, chosen []scenario) (t tools, err error) {
	has := func(tool string) bool {
		return slices.ContainsFunc(b.proxies, func(p proxy) bool { return p.tool == tool })
	}
	loads := func(g generator) bool {
		return slices.ContainsFunc(chosen, func(s scenario) bool { return s.load != nil && s.load.generator == g })
	}
	stream := slices.ContainsFunc(chosen, func(s scenario) bool { return s.kind == kindStream })
	var missing []string
	locate := func(needed bool, name, pkg string) string {
		path := look(name)
		if needed && path == "" {
			missing = append(missing, pkg)
		}
		return path
	}
	find := func() {
		missing = nil
		t.wrk = locate(loads(generatorWrk), "wrk", "wrk")
		t.h2load = locate(loads(generatorH2load), "h2load", "nghttp2-client")
		t.nginx = locate(has("nginx"), "nginx", "nginx-light")
		t.haproxy = locate(has("haproxy"), "haproxy", "haproxy")
	}
	if find(); len(missing) > 0 {
		if err := b.aptInstall(ctx, missing); err != nil {
			return t, err
		}
		if find(); len(missing) > 0 {
			return t, fmt.Errorf("still not found: %s", strings.Join(missing, ", "))
		}
	}
	if stream && has("nginx") {
		if t.findStream(ctx); !t.nginxStream {
			if err := b.aptInstall(ctx, []string{"libnginx-mod-stream"}); err != nil {
				fmt.Fprintln(b.progress, err)
			}
			t.findStream(ctx)
		}
	}
	if loads(generatorGhz) {
		if t.ghz, err = b.buildGhz(ctx); err != nil {
			return t, err
		}
	}
	if has("caddy") {
		if t.caddy, err = b.buildCaddy(ctx); err != nil {
			return t, err
		}
	}
	if has("weft") {
		t.weft, err = b.buildWeft(ctx)
	}
	return t, err
}

// look finds a program on the path or where Debian puts servers.
func look(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

func (b *bench) aptInstall(ctx context.Context, packages []string) error {
	list := strings.Join(packages, " ")
	switch {
	case !b.options.install:
		return fmt.Errorf("missing and -install=false: %s", list)
	case os.Geteuid() != 0:
		return fmt.Errorf("missing; as root: apt-get install %s (or choose other -proxies)", list)
	case look("apt-get") == "":
		return fmt.Errorf("missing and no apt-get here: %s (or choose other -proxies)", list)
	}
	fmt.Fprintf(b.progress, "installing %s\n", list)
	apt := []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"}
	if _, err := output(ctx, 5*time.Minute, append(apt, "update")...); err != nil {
		return err
	}
	_, err := output(ctx, 10*time.Minute, append(append(apt, "install", "--no-install-recommends"), packages...)...)
	return err
}

// findStream sees whether nginx proxies TCP, by itself or with a module.
func (t *tools) findStream(ctx context.Context) {
	text, err := output(ctx, 10*time.Second, t.nginx, "-V")
	if err != nil {
		return
	}
	t.nginxStream, t.streamModule = streamSupport(text, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// streamSupport reads the configure arguments of nginx -V.
func streamSupport(version string, exists func(string) bool) (ok bool, module string) {
	modules := "/usr/lib/nginx/modules"
	for arg := range strings.FieldsSeq(version) {
		if arg == "--with-stream" {
			return true, ""
		}
		if dir, ok := strings.CutPrefix(arg, "--modules-path="); ok {
			modules = dir
		}
	}
	if module = filepath.Join(modules, "ngx_stream_module.so"); exists(module) {
		return true, module
	}
	return false, ""
}

// buildCaddy builds Caddy from its module, once: the binary stays in the cache.
func (b *bench) buildCaddy(ctx context.Context) (string, error) {
	dir := filepath.Join(b.options.cache, "caddy-"+caddyVersion)
	path := filepath.Join(dir, "caddy")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if !b.options.install {
		return "", fmt.Errorf("-install=false and no %s (or use -skip-caddy)", path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(b.progress, "building Caddy %s\n", caddyVersion)
	_, err := output(ctx, 20*time.Minute, "env", "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=",
		"go", "install", "github.com/caddyserver/caddy/v2/cmd/caddy@"+caddyVersion)
	if err != nil {
		return "", fmt.Errorf("%w (use -skip-caddy to go on without)", err)
	}
	return path, nil
}

// buildGhz builds ghz in the version that its module in test/interop/peers pins.
func (b *bench) buildGhz(ctx context.Context) (string, error) {
	root, err := output(ctx, time.Minute, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/weftproxy/weft")
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.options.cache, "ghz")
	fmt.Fprintln(b.progress, "building ghz")
	pinned := filepath.Join(strings.TrimSpace(root), "test", "interop", "peers", "ghz")
	_, err = output(ctx, 10*time.Minute, "env", "CGO_ENABLED=0", "go", "build", "-C", pinned,
		"-mod=readonly", "-o", path, "github.com/bojand/ghz/cmd/ghz")
	return path, err
}

// buildWeft builds this tree's weft, unless the command line names one.
func (b *bench) buildWeft(ctx context.Context) (string, error) {
	if b.options.weft != "" {
		return filepath.Abs(b.options.weft)
	}
	path := filepath.Join(b.dir, "weft")
	fmt.Fprintln(b.progress, "building weft")
	_, err := output(ctx, 10*time.Minute, "go", "build", "-o", path, "github.com/weftproxy/weft/cmd/weft")
	return path, err
}

// versions returns what each program calls itself.
func (b *bench) versions(ctx context.Context) map[string]string {
	flags := map[string]string{"nginx": "-v", "haproxy": "-v", "weft": "--version"}
	found := map[string]string{}
	for _, p := range b.proxies {
		if p.tool == "caddy" {
			found[p.tool] = caddyVersion // built from its module, it does not know itself
		}
		if found[p.tool] != "" {
			continue
		}
		text, err := output(ctx, 10*time.Second, b.tools.binary(p.tool), flags[p.tool])
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		found[p.tool] = line
	}
	return found
}
