//go:build interop

package interop

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// h2specCases is how many h2spec 2.2.1 has.
const h2specCases = 146

// notOfRFC9113 are the cases of h2spec that Weft need not pass, with the reason.
var notOfRFC9113 = map[string]string{}

// notOnAuto are those it need not pass where HTTP/1.1 is served as well.
var notOnAuto = map[string]string{
	"http2/3.5: Sends invalid connection preface": "what is no preface (RFC 9113 section 3.4) is HTTP/1.1, and answered in HTTP/1.1",
}

// A report is h2spec's, in the format of JUnit.
type report struct {
	Cases []struct {
		Package string    `xml:"package,attr"`
		Class   string    `xml:"classname,attr"`
		Failure *failure  `xml:"failure"`
		Error   *failure  `xml:"error"`
		Skipped *struct{} `xml:"skipped"`
	} `xml:"testsuite>testcase"`
}

// A failure says what went wrong.
type failure struct {
	Text string `xml:",chardata"`
}

// TestH2spec runs all of h2spec, its strict cases as well, against a listener for HTTP/2 and one for both versions, and over TLS.
func TestH2spec(t *testing.T) {
	path := peer(t, "h2spec")
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a request that is broken off is what is tested
		fmt.Fprint(w, strings.Repeat("h2spec ", 100))
	}))
	p := newPapers(t)
	for _, c := range []struct {
		codec    string
		upstream speaks
		excused  map[string]string
		socket   string
		args     []string
	}{
		{"HTTP2", http2, nil, "", nil}, {"HTTP2", http1, nil, "", nil}, {"AUTO", http2, notOnAuto, "", nil},
		{"HTTP2", http1, nil, p.localSocket(""), []string{"--tls", "--insecure"}}, // it trusts what the system trusts
		{"AUTO", http2, nil, p.localSocket(""), []string{"--tls", "--insecure"}},  // ALPN says HTTP/2
	} {
		t.Run(strings.Join(append([]string{fmt.Sprintf("%s to HTTP/%d", c.codec, c.upstream+1)}, c.args...), " "), func(t *testing.T) {
			w := startWeft(t, upstream, setup{codec: c.codec, upstream: c.upstream, socket: c.socket})
			file := filepath.Join(t.TempDir(), "report.xml")
			// The exit code says whether a case has failed, as the report does.
			args := append([]string{"--strict", "--host", "127.0.0.1", "--port", port(w.addr), "--junit-report", file}, c.args...)
			_, failed := run(t, 2*patience, path, args...)
			var r report
			if err := xml.Unmarshal(read(t, file), &r); err != nil {
				t.Fatal(err, failed)
			}
			if len(r.Cases) != h2specCases {
				t.Errorf("%d cases, want %d", len(r.Cases), h2specCases)
			}
			for _, k := range r.Cases {
				name := k.Package + ": " + k.Class
				why := k.Failure
				if why == nil {
					why = k.Error
				}
				switch {
				case why != nil && notOfRFC9113[name]+c.excused[name] == "":
					t.Errorf("%s: %s", name, why.Text)
				case k.Skipped != nil:
					t.Errorf("%s is skipped", name)
				}
			}
			w.becomes("http.main.downstream_rq_active", 0)
			w.becomes("cluster.up.upstream_rq_active", 0)
		})
	}
}
