package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// Bounds on a directory of runtime values.
const (
	maxRuntimeDepth = 16 // as Envoy
	maxRuntimeFiles = 10_000
	maxRuntimeFile  = 64 << 10 // bytes
)

// A diskLayer is the directory whose files are a layer's values.
type diskLayer struct {
	root string // the symbolic link that is moved into place when the values change
	path string // the directory

	was fs.FileInfo // the directory of the last reading; nil: there was none. Guarded by layers.loading

	there, failed bool // of the last reading; guarded by layers.mu
}

func newDiskLayer(cfg *bootstrapv3.RuntimeLayer_DiskLayer, serviceCluster string) *diskLayer {
	d := &diskLayer{root: filepath.Clean(cfg.GetSymlinkRoot())}
	d.path = filepath.Join(d.root, cfg.GetSubdirectory())
	if cfg.GetAppendServiceCluster() {
		d.path = filepath.Join(d.path, serviceCluster)
	}
	return d
}

// A reading is what was found in a directory.
type reading struct {
	layer  *layer
	values map[string]string
	err    error
}

// readings reads the directories of those layers that have one. loading is held.
func readings(all []*layer) []reading {
	var out []reading
	for _, one := range all {
		if one.disk == nil {
			continue
		}
		one.disk.was, _ = os.Stat(one.disk.path) // before it is read, so that no change goes unnoticed
		r := reading{layer: one}
		r.values, r.err = readRuntime(one.disk.path)
		out = append(out, r)
	}
	return out
}

// take makes what was found the values of the layer. A directory that is not there leaves the layer out; one that cannot be read leaves its last
// values. layers.mu is held.
func (r reading) take(log *slog.Logger) {
	d := r.layer.disk
	d.failed = false
	switch {
	case errors.Is(r.err, errNoDirectory):
		d.there, r.layer.values = false, nil
	case r.err != nil:
		d.failed = true
		log.Error("runtime values cannot be read; the last ones stay", "layer", r.layer.name, "directory", d.path, "error", r.err)
	default:
		d.there, r.layer.values = true, r.values
	}
}

// stale reports whether the directory is another one than was read. One that has gone is not: its values stay, as in Envoy. loading is held.
func (d *diskLayer) stale() bool {
	now, err := os.Stat(d.path)
	return err == nil && (d.was == nil || !os.SameFile(d.was, now))
}

var errNoDirectory = errors.New("there is no such directory")

// readRuntime reads a directory: a file's path with dots for slashes is a key, its text the value. Files and directories whose names begin
// with a dot are left out.
func readRuntime(dir string) (map[string]string, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, errNoDirectory
	}
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	return values, walkRuntime(dir, "", 1, values)
}

func walkRuntime(dir, prefix string, depth int, values map[string]string) error {
	if depth > maxRuntimeDepth {
		return fmt.Errorf("directories are more than %d deep", maxRuntimeDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := filepath.Join(dir, e.Name())
		info, err := os.Stat(name) // where links lead
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link that leads nowhere, or gone meanwhile
		case err != nil:
			return err
		case info.IsDir():
			if err := walkRuntime(name, prefix+e.Name()+".", depth+1, values); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			text, err := readRuntimeFile(name)
			if err != nil {
				return err
			}
			values[prefix+e.Name()] = text
		}
		if len(values) > maxRuntimeFiles {
			return fmt.Errorf("there are more than %d files", maxRuntimeFiles)
		}
	}
	return nil
}

// readRuntimeFile is a file's text without lines that begin with # and without white space at its end.
func readRuntimeFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxRuntimeFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxRuntimeFile {
		return "", fmt.Errorf("%s is larger than %d bytes", name, maxRuntimeFile)
	}
	return runtimeFileText(string(b)), nil
}

func runtimeFileText(s string) string {
	var kept []string
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" && line[0] != '#' { // empty lines go, as in Envoy
			kept = append(kept, line)
		}
	}
	return strings.TrimRight(strings.Join(kept, "\n"), " \t\r\n\v\f")
}
