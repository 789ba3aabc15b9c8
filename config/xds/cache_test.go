package xds

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/resource"
)

const endpointsPath = "/v3/discovery:endpoints"

func refused(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") }

// filled runs a client until a cache has two clusters and the endpoints of one.
func filled(t *testing.T, dir string) *restServer {
	t.Helper()
	s := newRESTServer(t)
	s.say(http.StatusOK, clustersPath, jsonOf("1", `"a"`, `"b"`))
	s.say(http.StatusOK, endpointsPath, `{"version_info": "5", "resources": [{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "a"}]}`)
	h := startLocal(t, Options{Dial: s.dial, CacheDir: dir})
	h.all(restSource(), resource.Cluster)
	h.one(restSource(), resource.Endpoint, "a")
	h.expect(`cluster "a" 1, cluster "b" 1, endpoints "a" 5`)
	h.until("both types are kept", func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "?ds-*"))
		return err == nil && len(files) == 2
	})
	h.stop()
	return s
}

func TestCacheIsUsedWhenNobodyAnswers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s := filled(t, dir)
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 2 {
		t.Fatalf("the cache has %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	answers := make(chan struct{})
	h := startLocal(t, Options{CacheDir: dir, Dial: func(ctx context.Context, cluster string) (net.Conn, error) {
		select {
		case <-answers:
			return s.dial(ctx, cluster)
		default:
			return refused(ctx, cluster)
		}
	}})
	h.all(restSource(), resource.Cluster)
	h.expect(`cluster "a" 1, cluster "b" 1`)
	h.one(restSource(), resource.Endpoint, "a") // wanted later, as it is when a cluster of the cache refers to it
	h.expect(`cluster "a" 1, cluster "b" 1, endpoints "a" 5`)
	h.logged("what was kept of an earlier run is used")
	stale := h.client.Stale()
	if len(stale) != 2 || stale[0].Type != resource.Cluster || stale[0].Resources != 2 || stale[0].Version != "1" || stale[0].Saved.IsZero() {
		t.Errorf("%+v", stale)
	}
	if n := h.store.Scope("xds").Gauge("stale").Value(); n != 3 {
		t.Errorf("xds.stale is %d, want 3", n)
	}
	s.say(http.StatusOK, clustersPath, jsonOf("2", `"b"`, `"c"`))
	close(answers)
	h.expect(`cluster "b" 1, cluster "c" 2, endpoints "a" 5`)
	h.logged("what was kept of an earlier run is replaced")
	h.until("nothing is stale", func() bool { return len(h.client.Stale()) == 0 })
}

func TestCacheIsForItsSourceAndNode(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	h := startLocal(t, Options{CacheDir: dir, Dial: refused})
	other := restSource()
	other.GetApiConfigSource().ClusterNames = []string{"other"}
	h.all(other, resource.Cluster)
	h.all(restSource(), resource.Listener)
	h.counted("update_failure", 2) // it has been noticed that nobody answers
	h.until("looked", func() bool {
		h.client.cache.mu.Lock()
		defer h.client.cache.mu.Unlock()
		n := 0
		for _, p := range h.client.cache.pages {
			if p.loaded {
				n++
			}
		}
		return n == 2
	})
	h.expect("")
}

func TestCacheTakesDamagedFilesForNone(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"garbage": func([]byte) []byte { return []byte("\xff\xff\xff") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			filled(t, dir)
			files, err := filepath.Glob(dir + "/cds-*")
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			raw, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files[0], damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			h := startLocal(t, Options{CacheDir: dir, Dial: refused})
			h.all(restSource(), resource.Cluster)
			h.logged("a file of the xDS cache cannot be used")
			h.one(restSource(), resource.Endpoint, "a") // whose file is well
			h.expect(`endpoints "a" 5`)
		})
	}
}

func TestCacheIsNotWrittenByThoseWhoWantNothing(t *testing.T) {
	dir := t.TempDir()
	s := filled(t, dir)
	h := startLocal(t, Options{Dial: s.dial, CacheDir: dir})
	w := h.all(restSource(), resource.Cluster)
	h.expect(`cluster "a" 1, cluster "b" 1`)
	w.Release()
	h.until("the source is no more", func() bool { return len(h.client.Streams()) == 0 })
	h.stop()
	h = startLocal(t, Options{CacheDir: dir, Dial: refused})
	h.all(restSource(), resource.Cluster)
	h.expect(`cluster "a" 1, cluster "b" 1`)
}

func TestCacheForgets(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "cds-old"+cacheSuffix)
	unfinished := filepath.Join(dir, "writing-1"+cacheSuffix)
	other := filepath.Join(dir, "README")
	for _, f := range []string{old, unfinished, other} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * cacheMaxAge)
	for _, f := range []string{old, other} {
		if err := os.Chtimes(f, long, long); err != nil {
			t.Fatal(err)
		}
	}
	h := startLocal(t, Options{CacheDir: dir})
	h.until("old files are gone", func() bool {
		_, errOld := os.Stat(old)
		_, errUnfinished := os.Stat(unfinished)
		return os.IsNotExist(errOld) && os.IsNotExist(errUnfinished)
	})
	if _, err := os.Stat(other); err != nil {
		t.Error("somebody else's file is gone")
	}
}

func TestCacheDirectoryHasToWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := startLocal(t, Options{})
	_, err := New(Options{Hub: h.hub, CacheDir: filepath.Join(file, "cache")})
	if err == nil || !strings.Contains(err.Error(), "xDS cache") {
		t.Errorf("%v", err)
	}
}
