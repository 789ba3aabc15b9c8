package fswatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

const patience = 20 * time.Second

// watched starts a Run and returns a channel that has a value after a change.
func watched(t *testing.T, o Options) <-chan struct{} {
	t.Helper()
	changes := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	o.Debounce = 5 * time.Millisecond
	go func() {
		defer close(done)
		Run(ctx, o, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	<-changes // watching has begun
	return changes
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect makes a change again and again until it is noticed: the first may come before the watch has begun.
func expect(t *testing.T, changes <-chan struct{}, change func(i int)) {
	t.Helper()
	end := time.After(patience)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for i := 0; ; i++ {
		change(i)
		select {
		case <-changes:
			return
		case <-end:
			t.Fatal("the change was not noticed")
		case <-again.C:
		}
	}
}

func write(t *testing.T, path string, i int) {
	t.Helper()
	must(t, os.WriteFile(path, []byte{byte(i), byte(i >> 8)}, 0o600))
}

func TestRunTellsOfChanges(t *testing.T) {
	for name, test := range map[string]struct {
		setup  func(dir string) Options
		change func(dir string, i int)
	}{
		"written in place": {
			func(dir string) Options { write(t, dir+"/f", 0); return Options{Path: dir + "/f"} },
			func(dir string, i int) { write(t, dir+"/f", i+1) },
		},
		"renamed over": {
			func(dir string) Options { write(t, dir+"/f", 0); return Options{Path: dir + "/f"} },
			func(dir string, i int) { write(t, dir+"/g", i+1); must(t, os.Rename(dir+"/g", dir+"/f")) },
		},
		"made": {
			func(dir string) Options { return Options{Path: dir + "/f"} },
			func(dir string, i int) { write(t, dir+"/f", i) },
		},
		"swapped as in Kubernetes": {
			func(dir string) Options {
				must(t, os.Mkdir(dir+"/v0", 0o700))
				write(t, dir+"/v0/f", 0)
				must(t, os.Symlink("v0", dir+"/..data"))
				must(t, os.Symlink("..data/f", dir+"/f"))
				return Options{Path: dir + "/f", Dir: dir}
			},
			func(dir string, i int) {
				next := "w" + time.Now().Format("150405.000000000")
				must(t, os.Mkdir(filepath.Join(dir, next), 0o700))
				write(t, filepath.Join(dir, next, "f"), i+1)
				must(t, os.Symlink(next, dir+"/..tmp"))
				must(t, os.Rename(dir+"/..tmp", dir+"/..data"))
			},
		},
		"in the other directory": {
			func(dir string) Options {
				must(t, os.Mkdir(dir+"/d", 0o700))
				write(t, dir+"/f", 0)
				return Options{Path: dir + "/f", Dir: dir + "/d"}
			},
			func(dir string, i int) { write(t, dir+"/d/any", i) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			dir := t.TempDir()
			o := test.setup(dir)
			t.Run("changes", func(t *testing.T) {
				changes := watched(t, o)
				for range 2 { // also after the first
					expect(t, changes, func(i int) { test.change(dir, i) })
				}
			})
		})
	}
}

func TestLookingFindsWhatNobodyTells(t *testing.T) {
	dir := t.TempDir()
	// The directory of the file does not exist, so that nothing there can be watched before looking finds it.
	changes := watched(t, Options{Path: dir + "/a/b/f", Poll: 10 * time.Millisecond})
	must(t, os.MkdirAll(dir+"/a/b", 0o700))
	expect(t, changes, func(i int) { write(t, dir+"/a/b/f", i) })
}

func TestOtherFilesDoNotCount(t *testing.T) {
	w := &watcher{o: Options{Path: "/x/f", Debounce: time.Hour}, active: map[string]bool{}, quiet: time.NewTimer(time.Hour), points: []string{"/x/f"}}
	defer w.close()
	w.event(event("/x/g"))
	if !w.since.IsZero() {
		t.Error("another file counts")
	}
	w.event(event("/x/f"))
	if w.since.IsZero() {
		t.Error("the file does not count")
	}
}

func event(name string) fsnotify.Event { return fsnotify.Event{Name: name, Op: fsnotify.Write} }
