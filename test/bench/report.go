//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is everything a run found out; -json writes it.
type report struct {
	Machine   machine   `json:"machine"`
	Scenarios []*result `json:"scenarios"`
}

// A machine is what numbers depend on besides the proxies.
type machine struct {
	Time     time.Time         `json:"time"`
	Kernel   string            `json:"kernel"`
	CPU      string            `json:"cpu"`
	CPUs     int               `json:"cpus"`
	ProxyCPU string            `json:"proxy_cpu"`
	LoadCPU  string            `json:"load_cpu"`
	Go       string            `json:"go"`
	Duration time.Duration     `json:"duration_ns"`
	Rounds   int               `json:"rounds"`
	Versions map[string]string `json:"versions"`
}

// A result is one scenario's rows.
type result struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Rows     []*row   `json:"rows"`
	Verdicts []string `json:"targets,omitempty"`
}

// A row is one proxy's samples, a round each, and what they come to.
type row struct {
	Proxy   string             `json:"proxy"`
	Samples []sample           `json:"samples"`
	Summary map[string]*spread `json:"summary,omitempty"` // by column title
	Ratios  map[string]*spread `json:"ratios,omitempty"`  // of the first column, by the other proxy
	Skipped string             `json:"skipped,omitempty"`
	Error   string             `json:"error,omitempty"`
	proxy   proxy
}

func newReport(ctx context.Context, b *bench) *report {
	var u unix.Utsname
	_ = unix.Uname(&u)
	info, _ := os.ReadFile("/proc/cpuinfo")
	return &report{Machine: machine{
		Time: time.Now().UTC().Truncate(time.Second), Kernel: unix.ByteSliceToString(u.Release[:]),
		CPU: cpuModel(string(info)), CPUs: runtime.NumCPU(),
		ProxyCPU: b.proxyCPUs.String(), LoadCPU: b.loadCPUs.String(), Go: runtime.Version(),
		Duration: b.options.duration, Rounds: b.options.rounds, Versions: b.versions(ctx),
	}}
}

func cpuModel(info string) string {
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (r *report) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// failure returns an error that names every proxy that failed requests or did not run.
func (r *report) failure() error {
	var bad []string
	for _, s := range r.Scenarios {
		for _, row := range s.Rows {
			var failed int64
			for _, x := range row.Samples {
				failed += x.Failed
			}
			switch {
			case row.Error != "":
				bad = append(bad, fmt.Sprintf("%s: %s: %s", s.Name, row.Proxy, row.Error))
			case failed > 0:
				bad = append(bad, fmt.Sprintf("%s: %s: %d failed requests", s.Name, row.Proxy, failed))
			}
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("failures:\n  %s", strings.Join(bad, "\n  "))
}

// summarize computes spreads, ratios and the verdict on each target.
func (r *result) summarize(s scenario) {
	first := s.columns[0]
	for _, row := range r.Rows {
		if len(row.Samples) == 0 {
			continue
		}
		row.Summary, row.Ratios = map[string]*spread{}, map[string]*spread{}
		for _, c := range s.columns {
			row.Summary[c.title] = spreadOf(values(row.Samples, c))
		}
		for _, other := range []string{"nginx", "haproxy"} {
			if o := r.row(other); o != nil && other != row.Proxy && len(o.Samples) > 0 {
				row.Ratios[other] = spreadOf(ratios(values(row.Samples, first), values(o.Samples, first)))
			}
		}
	}
	for _, t := range s.targets {
		if v := r.verdict(t); v != "" {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
}

func (r *result) row(proxy string) *row {
	if i := slices.IndexFunc(r.Rows, func(x *row) bool { return x.Proxy == proxy }); i >= 0 {
		return r.Rows[i]
	}
	return nil
}

// verdict says whether Weft meets t; "" when it cannot be told.
func (r *result) verdict(t target) string {
	weft := r.row("weft")
	if weft == nil || len(weft.Samples) == 0 {
		return ""
	}
	got, text := values(weft.Samples, t.column), fmt.Sprintf("%s at most %g", t.column.title, t.max)
	digits := t.column.digits
	if t.against != "" {
		other := r.row(t.against)
		if other == nil || len(other.Samples) == 0 {
			return ""
		}
		got, digits = ratios(got, values(other.Samples, t.column)), 2
		text = fmt.Sprintf("%s at most %.2f × %s", t.column.title, t.max, t.against)
	}
	median := spreadOf(got).Median
	word := "met"
	if !(median <= t.max) {
		word = "MISSED"
	}
	return fmt.Sprintf("%s: %.*f, %s", text, digits, median, word)
}
