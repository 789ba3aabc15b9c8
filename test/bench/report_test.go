//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
		text string
	}{
		{[]float64{3, 1, 2}, spread{2, 1, 3}, "2.0 (1.0–3.0)"},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}, "2.5 (1.0–4.0)"},
		{[]float64{7}, spread{7, 7, 7}, "7.0"},
		{[]float64{7.01, 7.02}, spread{7.015, 7.01, 7.02}, "7.0"},
	} {
		got := spreadOf(c.in)
		if *got != c.want || got.format(1) != c.text {
			t.Errorf("spreadOf(%v) = %+v %q, want %+v %q", c.in, *got, got.format(1), c.want, c.text)
		}
	}
	if got := spreadOf(nil); got != nil || got.format(1) != "–" {
		t.Errorf("spreadOf(nil) = %+v", got)
	}
}

func TestRatiosPairRounds(t *testing.T) {
	got := ratios([]float64{10, 40, 9}, []float64{10, 20, 0})
	if len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Errorf("ratios = %v, want [1 2]", got)
	}
}

// rows of 1,000 requests: the CPU of each round in milliseconds is its µs a request.
func testRow(proxy string, cpu ...time.Duration) *row {
	r := &row{Proxy: proxy}
	for _, ms := range cpu {
		r.Samples = append(r.Samples, sample{CPU: ms * time.Millisecond, Requests: 1000, Elapsed: time.Second, Peak: 3 << 20})
	}
	return r
}

func testScenario() scenario {
	return scenario{
		name: "get", title: "GET", columns: []column{cpuPerRequest(), busy(), peak(), failed()},
		targets: []target{{cpuPerRequest(), "nginx", 1.1}, {cpuPerRequest(), "haproxy", 1}, {peak(), "", 2}, {peak(), "envoy", 1}},
	}
}

func TestTable(t *testing.T) {
	s := testScenario()
	broken := testRow("caddy")
	broken.Error = "caddy ended at start:\nno such file"
	r := &result{Name: s.name, Title: s.title, Rows: []*row{
		testRow("nginx", 10, 20, 40), testRow("haproxy", 20, 20, 20), testRow("weft", 11, 21, 42), broken,
	}}
	r.Rows[2].Samples[1].Failed = 3
	r.summarize(s)
	var out bytes.Buffer
	writeTable(&out, s, r)
	want := `## get: GET

| proxy   |      CPU µs/request |          × nginx |        × haproxy | busy % | peak MiB | failed |
|---------|--------------------:|-----------------:|-----------------:|-------:|---------:|-------:|
| nginx   | 20.00 (10.00–40.00) |                – | 1.00 (0.50–2.00) |      2 |      3.0 |      0 |
| haproxy |               20.00 | 1.00 (0.50–2.00) |                – |      2 |      3.0 |      0 |
| weft    | 21.00 (11.00–42.00) | 1.05 (1.05–1.10) | 1.05 (0.55–2.10) |      2 |      3.0 |      3 |

- caddy failed: caddy ended at start: no such file
- CPU µs/request at most 1.10 × nginx: 1.05, met
- CPU µs/request at most 1.00 × haproxy: 1.05, MISSED
- peak MiB at most 2: 3.0, MISSED

`
	if got := out.String(); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
}

func TestReportFailsOnFailedRequestsAndProxies(t *testing.T) {
	s := testScenario()
	good := &result{Name: "get", Rows: []*row{testRow("nginx", 1)}}
	skipped := testRow("nginx")
	skipped.Skipped = "no module"
	for _, c := range []struct {
		row  *row
		want string
	}{
		{testRow("weft", 1, 2), ""},
		{skipped, ""},
		{&row{Proxy: "weft", Error: "did not start"}, "get: weft: did not start"},
		{&row{Proxy: "weft", Samples: []sample{{Requests: 5, Failed: 2}, {Requests: 5, Failed: 5}}}, "get: weft: 7 failed requests"},
	} {
		bad := &result{Name: "get", Rows: []*row{c.row}}
		bad.summarize(s)
		r := &report{Scenarios: []*result{good, bad}}
		err := r.failure()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("failure = %v, want %q", err, c.want)
		}
	}
}

func TestReportIsSavedAsJSON(t *testing.T) {
	s := testScenario()
	res := &result{Name: s.name, Rows: []*row{testRow("nginx", 10), testRow("weft", 12)}}
	res.summarize(s)
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := (&report{Scenarios: []*result{res}}).save(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	weft := back.Scenarios[0].Rows[1]
	if weft.Samples[0].CPU != 12*time.Millisecond || weft.Ratios["nginx"].Median != 1.2 {
		t.Errorf("read back %+v", weft)
	}
}
