package server

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/weftproxy/weft/internal/cgroup"
)

// memoryShare is how much of the control group's memory limit the Go runtime may use, in percent; the rest is for thread
// stacks and the kernel's socket buffers, which count there too.
const memoryShare = 90

// takeLimits sets what the process may use, from the command line and the control group: GOMAXPROCS, GOMEMLIMIT, core files.
func takeLimits(o Options, log *slog.Logger) {
	if o.Concurrency > 0 {
		runtime.GOMAXPROCS(o.Concurrency)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if limit, ok := cgroup.MemoryLimit(os.DirFS("/")); ok {
			debug.SetMemoryLimit(limit / 100 * memoryShare)
			log.Info("memory limit of the control group", "bytes", limit, "used", limit/100*memoryShare)
		}
	}
	if o.EnableCoreDump {
		if err := allowCoreDump(); err != nil {
			log.Warn("cannot enable core dumps", "error", err)
		}
	}
}

// allowCoreDump raises the limit of core files to what is allowed, and makes a crash of the Go runtime leave one.
func allowCoreDump() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	debug.SetTraceback("crash")
	return nil
}

// tidy gives the memory that reading and compiling a configuration took back to the system. Left alone, the garbage collector of a
// process that allocates next to nothing per request would keep it for long.
func (p *process) tidy() {
	if p.o.OwnProcess {
		p.tasks.Go(debug.FreeOSMemory) // ends with one collection
	}
}
