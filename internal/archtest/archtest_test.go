package archtest

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weftproxy/weft"

// rows is the import table: a package may import packages of lower rows only. The longest matching prefix counts. Within row 0
// the order is message ← conn ← match ← observe, given by fractions of a row in tenths.
var rows = []struct {
	prefix string
	row    int // in tenths
}{
	{"cmd", 90},
	{"server", 80},
	{"config", 70}, {"config/file", 69}, {"hotrestart", 70}, {"admin", 70}, {"builtin", 70},
	{"snapshot", 60},
	{"listener", 50}, {"dispatch", 50}, {"filter", 50}, {"filter/rbac", 45}, {"forward", 50},
	{"route", 40}, {"extension", 40}, {"wasm", 40},
	{"exchange", 30},
	{"upstream/discovery", 18}, {"upstream/health", 18}, {"upstream/pool", 17}, {"upstream/balance", 17},
	{"upstream", 20},
	{"protocol", 10}, {"protocol/http1", 11}, {"protocol/http2", 11}, {"protocol/auto", 11},
	{"transport", 10}, {"transport/tcp", 11}, {"transport/memory", 11}, {"transport/proxyproto", 14},
	{"subscription", 11}, {"transport/secret", 12}, {"transport/socket", 13}, {"transport/tls", 14}, {"transport/starttls", 14},
	{"resource", 10},
	{"observe", 5}, {"observe/stats", 4}, {"observe/format", 6}, {"observe/accesslog", 7}, {"observe/accesslog/als", 8},
	{"match", 4}, {"conn", 3}, {"message", 2}, {"internal/grpc", 3}, {"internal/grpc/calls", 35}, {"internal/grpc/grpctest", 35}, {"internal", 1},
	{"test", 100}, {"test/kit", 99}, {"test/certs", 98}, {"examples", 100}, {"docs", 100},
}

// above are edges that the table forbids and that exist for a reason.
var above = map[string][]string{
	"observe/accesslog":     {"resource"}, // it says which fields of its messages are supported
	"observe/accesslog/als": {"resource"},
	"observe/format":        {"resource"},
	"match":                 {"resource"},
	"builtin":               {"config/file", "config/xds"}, // they say which fields of Bootstrap are supported
	"config/xds":            {"config/file"},               // it reads resources from files
}

func rowOf(pkg string) (row int, ok bool) {
	best := -1
	for _, r := range rows {
		if (pkg == r.prefix || strings.HasPrefix(pkg, r.prefix+"/")) && len(r.prefix) > best {
			best, row, ok = len(r.prefix), r.row, true
		}
	}
	return row, ok
}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		checkPackage(t, strings.TrimPrefix(p.ImportPath, module+"/"), p.Imports)
	}
	if seen < 10 {
		t.Fatalf("go list found %d packages; the test looks at nothing", seen)
	}
}

func checkPackage(t *testing.T, pkg string, imports []string) {
	row, ok := rowOf(pkg)
	if !ok {
		t.Errorf("package %s has no row in the import table", pkg)
		return
	}
	for _, path := range imports {
		to, own := strings.CutPrefix(path, module+"/")
		if !own || slices.Contains(above[pkg], to) {
			continue
		}
		if toRow, _ := rowOf(to); toRow >= row && !strings.HasPrefix(to, pkg+"/") {
			t.Errorf("%s imports %s: row %.1f may import lower rows only, this is row %.1f", pkg, to, float64(row)/10, float64(toRow)/10)
		}
	}
}

func TestATableEdgeThatPointsUpIsFound(t *testing.T) {
	for _, edge := range [][2]string{{"message", "conn"}, {"dispatch", "listener"}, {"route", "dispatch"}, {"observe", "exchange"}} {
		from, _ := rowOf(edge[0])
		to, _ := rowOf(edge[1])
		if to < from {
			t.Errorf("%s → %s would be allowed", edge[0], edge[1])
		}
	}
}
