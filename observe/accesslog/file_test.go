package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A sink records writes; it fails or blocks when told to.
type sink struct {
	mu     sync.Mutex
	writes []string
	err    error
	block  chan struct{}
}

func (s *sink) Write(p []byte) (int, error) {
	if s.block != nil {
		<-s.block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.writes...)
}

func counted(t *testing.T, store *stats.Store, name string) uint64 {
	t.Helper()
	return store.Scope("filesystem.").Counter(name).Value()
}

func TestLinesWaitForTheIntervalOrASize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		store := stats.NewStore(stats.Options{})
		fs := NewFiles(FilesOptions{Stdout: &out, FlushInterval: 10 * time.Second, FlushSize: 10, Stats: store})
		f := fs.Stdout()
		f.Write([]byte("a\n"))
		time.Sleep(9 * time.Second)
		f.Write([]byte("b\n"))
		if got := out.all(); len(got) != 0 {
			t.Errorf("written before the interval: %q", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := out.all(); len(got) != 1 || got[0] != "a\nb\n" {
			t.Errorf("after the interval: %q", got)
		}
		if n := counted(t, store, "flushed_by_timer"); n != 1 {
			t.Errorf("flushed_by_timer = %d", n)
		}
		f.Write([]byte("0123456789\n"))
		synctest.Wait()
		if got := out.all(); len(got) != 2 || got[1] != "0123456789\n" {
			t.Errorf("a full buffer was not written: %q", got)
		}
		if n := counted(t, store, "flushed_by_timer"); n != 1 {
			t.Errorf("flushed_by_timer = %d after a full buffer", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := counted(t, store, "flushed_by_timer"); n != 1 {
			t.Errorf("an empty file woke up: flushed_by_timer = %d", n)
		}
		f.Write([]byte("end\n"))
		fs.Close()
		if got := out.all(); len(got) != 3 || got[2] != "end\n" {
			t.Errorf("after Close: %q", got)
		}
		f.Write([]byte("late\n"))
		if n := counted(t, store, "write_failed"); n != 1 {
			t.Errorf("write_failed = %d", n)
		}
		if n := counted(t, store, "write_buffered"); n != 4 {
			t.Errorf("write_buffered = %d", n)
		}
		if n := counted(t, store, "write_completed"); n != 3 {
			t.Errorf("write_completed = %d", n)
		}
	})
}

func TestASlowDiskDoesNotStopTheDataPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sink{block: make(chan struct{})}
		store := stats.NewStore(stats.Options{})
		fs := NewFiles(FilesOptions{Stdout: &out, FlushSize: 1, Stats: store})
		line := bytes.Repeat([]byte("x"), 1<<20)
		for range 20 {
			fs.Stdout().Write(line)
			synctest.Wait()
		}
		// One megabyte is with the disk, eight wait, eleven were dropped.
		if n := counted(t, store, "write_failed"); n != 11 {
			t.Errorf("write_failed = %d, want 11", n)
		}
		close(out.block)
		fs.Close()
		total := 0
		for _, w := range out.all() {
			total += len(w)
		}
		if total != 9<<20 {
			t.Errorf("%d bytes written", total)
		}
		if n := store.Scope("filesystem.").Gauge("write_total_buffered").Value(); n != 0 {
			t.Errorf("write_total_buffered = %d", n)
		}
	})
}

func TestFailedWritesAreCounted(t *testing.T) {
	out := sink{err: errors.New("no space left on device")}
	store := stats.NewStore(stats.Options{})
	fs := NewFiles(FilesOptions{Stderr: &out, Stats: store})
	fs.Stderr().Write([]byte("x"))
	fs.Flush()
	if n := counted(t, store, "write_failed"); n != 1 {
		t.Errorf("write_failed = %d", n)
	}
	fs.Close()
}

func TestReopenFollowsARotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	store := stats.NewStore(stats.Options{})
	fs := NewFiles(FilesOptions{Stats: store})
	defer fs.Close()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := fs.Open(path); again != f || err != nil {
		t.Errorf("the file is not shared: %v", err)
	}
	f.Write([]byte("one\n"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Reopen(); err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("two\n"))
	fs.Flush()
	for name, want := range map[string]string{path + ".1": "one\n", path: "two\n"} {
		if got, err := os.ReadFile(name); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fs.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Reopen = %v", err)
	}
	if n := counted(t, store, "reopen_failed"); n != 1 {
		t.Errorf("reopen_failed = %d", n)
	}
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	fs := NewFiles(FilesOptions{FlushSize: 512})
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	const writers, lines = 8, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range lines {
				f.Write(fmt.Appendf(nil, "%d:%d:%s\n", w, i, strings.Repeat("x", i%50)))
			}
		})
	}
	wg.Wait()
	fs.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := [writers]int{}
	for line := range strings.Lines(string(b)) {
		var w, i int
		var rest string
		if n, _ := fmt.Sscanf(line, "%d:%d:%s", &w, &i, &rest); n < 2 || next[w] != i || len(rest) != i%50 {
			t.Fatalf("bad line %q, want number %d", line, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != lines {
			t.Errorf("writer %d: %d lines", w, n)
		}
	}
}

func record() *observe.Entry {
	return &observe.Entry{Record: &observe.Record{Began: time.Date(2016, 4, 15, 20, 17, 3, 0, time.UTC), Status: 200, Start: 1, Done: 1, Protocol: "HTTP/1.1"},
		Conn: &conn.Info{}, Request: &message.Request{Method: "GET", Path: "/", Authority: "a"}, Response: &message.Response{Status: 200}}
}

func TestWritersUseTheFormatTheyAreGiven(t *testing.T) {
	fs := NewFiles(FilesOptions{})
	defer fs.Close()
	path := filepath.Join(t.TempDir(), "a.log")
	for name, c := range map[string]struct {
		cfg  *filev3.FileAccessLog
		want string
	}{
		"default": {&filev3.FileAccessLog{}, "[2016-04-15T20:17:03.000Z] \"GET / HTTP/1.1\" 200 - 0 0 0 - \"-\" \"-\" \"-\" \"a\" \"-\"\n"},
		"text":    {&filev3.FileAccessLog{AccessLogFormat: &filev3.FileAccessLog_Format{Format: "%RESPONSE_CODE%\n"}}, "200\n"},
	} {
		c.cfg.Path = path
		w, err := NewFile(fs, format.Options{}, c.cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		w.Log(record())
		fs.Flush()
		if got, err := os.ReadFile(path); string(got) != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	for _, cfg := range []*filev3.FileAccessLog{
		{Path: "/nonexistent/dir/x.log"},
		{Path: path, AccessLogFormat: &filev3.FileAccessLog_Format{Format: "%NO%"}},
		{},
	} {
		if _, err := NewFile(fs, format.Options{}, cfg); err == nil {
			t.Errorf("NewFile(%v) succeeded", cfg)
		}
	}
}

func TestStandardStreams(t *testing.T) {
	var out, errs sink
	fs := NewFiles(FilesOptions{Stdout: &out, Stderr: &errs})
	a, err := NewStdout(fs, format.Options{}, &streamv3.StdoutAccessLog{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewStderr(fs, format.Options{}, &streamv3.StderrAccessLog{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewFile(fs, format.Options{}, &filev3.FileAccessLog{Path: "/dev/stdout", AccessLogFormat: &filev3.FileAccessLog_Format{Format: "third\n"}})
	if err != nil {
		t.Fatal(err)
	}
	a.Log(record())
	b.Log(record())
	c.Log(record())
	fs.Close()
	if got := out.all(); len(got) != 1 || !strings.HasSuffix(got[0], "third\n") {
		t.Errorf("stdout: %q", got)
	}
	if got := errs.all(); len(got) != 1 {
		t.Errorf("stderr: %q", got)
	}
}

func TestLoggingAllocatesNothing(t *testing.T) {
	out := &discard{}
	fs := NewFiles(FilesOptions{Stdout: out, FlushInterval: time.Hour})
	defer fs.Close()
	w, err := NewStdout(fs, format.Options{}, &streamv3.StdoutAccessLog{})
	if err != nil {
		t.Fatal(err)
	}
	w = Filtered(flagFilter(0), w)
	e := record()
	e.Record.Flags = observe.UF
	for range 2000 {
		w.Log(e)
	}
	fs.Flush()
	if n := testing.AllocsPerRun(200, func() { w.Log(e) }); n != 0 && !race.Enabled {
		t.Errorf("%v allocations a line", n)
	}
	fs.Flush()
	if out.n == 0 {
		t.Error("nothing was written")
	}
}

type discard struct{ n int }

func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

func TestSupportListsEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
