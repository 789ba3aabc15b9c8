package xds

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftproxy/weft/resource"
)

// A NACK names all that was rejected, with as many of its problems as there is room for.
func TestAReasonNamesAllThatWasRejected(t *testing.T) {
	many := func(resources, problems int) []resource.Rejection {
		var out []resource.Rejection
		for i := range resources {
			r := resource.Rejection{Key: resource.Key{Type: resource.Cluster, Name: fmt.Sprintf("c%05d", i)}}
			r.Problems = append(r.Problems, resource.Problem{Severity: resource.Note, Message: "a note"})
			for j := range problems {
				r.Problems = append(r.Problems, resource.Problem{Path: "lb_policy", Message: fmt.Sprintf("is wrong in way %d", j)})
			}
			out = append(out, r)
		}
		return out
	}
	for _, test := range []struct {
		resources, problems int
		named, lines        int
		last                string
	}{
		{1, 1, 1, 1, `cluster "c00000": lb_policy: is wrong in way 0`},
		{2, 3, 2, 6, `cluster "c00001": lb_policy: is wrong in way 2`},
		{100, 50, 100, 400, `cluster "c00099": lb_policy: is wrong in way 3 (and 46 more)`},
		{400, 50, 400, 400, `cluster "c00399": lb_policy: is wrong in way 0 (and 49 more)`},
		{20000, 1, 20000, -1, " more"},
	} {
		text := reason(many(test.resources, test.problems)).GetMessage()
		lines := strings.Split(text, "\n")
		named := map[string]bool{}
		for _, l := range lines {
			if name, _, ok := strings.Cut(l, ": "); ok {
				named[name] = true
			}
		}
		last, more := lines[len(lines)-1], 0
		if test.lines < 0 {
			if _, err := fmt.Sscanf(last, "and %d more", &more); err != nil {
				t.Errorf("%d: ends with %q", test.resources, last)
			}
		}
		if len(text) > maxReason || strings.Contains(text, "note") || !strings.HasSuffix(last, test.last) || len(named)+more != test.named ||
			test.lines >= 0 && len(lines) != test.lines {
			t.Errorf("%d resources with %d problems: %d bytes, %d lines, %d named, ends with %q",
				test.resources, test.problems, len(text), len(lines), len(named)+more, last)
		}
	}
	long := resource.Rejection{
		Key: resource.Key{Type: resource.Cluster, Name: "c"}, Problems: []resource.Problem{{Message: strings.Repeat("é", maxReason)}},
	}
	if text := reason([]resource.Rejection{long, long}).GetMessage(); len(text) > maxReason || !strings.HasSuffix(text, "é...\nand 1 more") {
		t.Errorf("%d bytes, ends with %q", len(text), text[len(text)-20:])
	}
}
