package admin

import (
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/observe/stats"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do sends one request to a server of this state.
func do(t *testing.T, s State, method, target, body string, headers ...string) *http.Response {
	t.Helper()
	if s.Stats == nil {
		s.Stats = stats.NewStore(stats.Options{})
	}
	r := httptest.NewRequest(method, "http://127.0.0.1:9901"+target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New(s).Handler().ServeHTTP(w, r)
	return w.Result()
}

func get(t *testing.T, s State, target string) (int, string) {
	t.Helper()
	return readAll(t, do(t, s, http.MethodGet, target, ""))
}

func post(t *testing.T, s State, target string) (int, string) {
	t.Helper()
	return readAll(t, do(t, s, http.MethodPost, target, ""))
}

func readAll(t *testing.T, resp *http.Response) (int, string) {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// golden compares with testdata/name.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
