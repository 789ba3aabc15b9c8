package admin

import (
	"fmt"
	"math"
	"net/http"
	"net/http/pprof"
	runtimemetrics "runtime/metrics"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

const pprofPrefix = "/debug/pprof/"

// profile answers for the paths below /debug/pprof/ that are not commands of their own, and reports whether this is one.
func profile(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path+"/" == pprofPrefix {
		http.Redirect(w, r, pprofPrefix, http.StatusMovedPermanently)
		return true
	}
	name, ok := strings.CutPrefix(r.URL.Path, pprofPrefix)
	if !ok {
		return false
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a profile takes as long as it is told to
	switch name {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
	return true
}

func (s *Server) pprofIndex(c *call) { pprof.Index(c.w, c.r) }

func (s *Server) heapDump(c *call) { pprof.Handler("heap").ServeHTTP(c.w, c.r) }

// noProfiler stands where Envoy writes profiles to a file.
func (s *Server) noProfiler(c *call) {
	c.text(http.StatusNotImplemented, "profiles are not written to files: GET /debug/pprof/profile?seconds=30 or /debug/pprof/heap\n")
}

func (s *Server) contention(c *call) {
	wait := readMetrics("/sync/mutex/wait/total:seconds")[0]
	c.text(http.StatusOK, fmt.Sprintf("goroutines waited %v for mutexes so far; who for whom: /debug/pprof/mutex\n", seconds(wait.Float64())))
}

// seconds is s as a duration; more than fits is the longest one.
func seconds(s float64) time.Duration {
	return time.Duration(min(s*float64(time.Second), math.MaxInt64/2))
}

// memory maps the Go heap to the words of tcmalloc: the page heap is what has no object in it, the thread cache what was cut
// into slots for objects and has none yet.
func (s *Server) memory(c *call) {
	v := readMetrics("/memory/classes/heap/objects:bytes", "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes",
		"/memory/classes/heap/free:bytes", "/memory/classes/heap/unused:bytes")
	c.proto(&adminv3.Memory{
		Allocated: v[0].Uint64(), HeapSize: v[1].Uint64(), PageheapUnmapped: v[2].Uint64(),
		PageheapFree: v[3].Uint64(), TotalThreadCache: v[4].Uint64(), TotalPhysicalBytes: v[1].Uint64() - v[2].Uint64(),
	}, true)
}

func readMetrics(names ...string) []runtimemetrics.Value {
	samples := make([]runtimemetrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	runtimemetrics.Read(samples)
	values := make([]runtimemetrics.Value, len(names))
	for i := range samples {
		values[i] = samples[i].Value
	}
	return values
}
