//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// writeHead says on what and how the numbers were taken.
func writeHead(w io.Writer, m machine) {
	fmt.Fprintf(w, "# Bench, %s\n\n", m.Time.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "%s, %d CPUs, Linux %s. One worker each; proxy on CPU %s, load and upstream on CPU %s. ",
		m.CPU, m.CPUs, m.Kernel, m.ProxyCPU, m.LoadCPU)
	fmt.Fprintf(w, "%d rounds of %v; median (minimum–maximum).\n\n", m.Rounds, m.Duration)
	for _, tool := range slices.Sorted(maps.Keys(m.Versions)) {
		fmt.Fprintf(w, "- %s: %s\n", tool, m.Versions[tool])
	}
	fmt.Fprintln(w)
}

// writeTable prints one scenario in Markdown.
func writeTable(w io.Writer, s scenario, r *result) {
	fmt.Fprintf(w, "## %s: %s\n\n", r.Name, r.Title)
	head := []string{"proxy", s.columns[0].title, "× nginx", "× haproxy"}
	for _, c := range s.columns[1:] {
		head = append(head, c.title)
	}
	grid := [][]string{head}
	var notes []string
	for _, row := range r.Rows {
		switch {
		case row.Error != "":
			notes = append(notes, fmt.Sprintf("%s failed: %s", row.Proxy, row.Error))
		case row.Skipped != "":
			notes = append(notes, fmt.Sprintf("%s skipped: %s", row.Proxy, row.Skipped))
		}
		if row.Summary != nil {
			grid = append(grid, cells(s, row))
		}
	}
	writeGrid(w, grid)
	for _, line := range append(notes, r.Verdicts...) {
		fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(line, "\n", " "))
	}
	if len(notes)+len(r.Verdicts) > 0 {
		fmt.Fprintln(w)
	}
}

// cells is one proxy's line. What proxies are compared by shows its spread, the rest
// the median, and failures the worst round.
func cells(s scenario, r *row) []string {
	line := []string{r.Proxy, r.Summary[s.columns[0].title].format(s.columns[0].digits)}
	for _, other := range []string{"nginx", "haproxy"} {
		line = append(line, r.Ratios[other].format(2))
	}
	for _, c := range s.columns[1:] {
		v := r.Summary[c.title].Median
		if c.title == failed().title {
			v = r.Summary[c.title].Max
		}
		line = append(line, fmt.Sprintf("%.*f", c.digits, v))
	}
	return line
}

// writeGrid prints cells as an aligned Markdown table; the first line is the head.
func writeGrid(w io.Writer, grid [][]string) {
	width := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range grid {
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprintf(w, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(w, "| %s%s ", pad, cell)
			}
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i := range line {
			if i == 0 {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width[i]+2))
			} else {
				fmt.Fprintf(w, "|%s:", strings.Repeat("-", width[i]+1))
			}
		}
		fmt.Fprintln(w, "|")
	}
	fmt.Fprintln(w)
}
