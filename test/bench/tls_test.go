//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/certs"
)

// testFiles makes what a bench makes for these scenarios.
func testFiles(t *testing.T, sites int, kinds ...kind) *tlsFiles {
	t.Helper()
	b := &bench{dir: t.TempDir(), progress: io.Discard, options: &options{sites: sites}}
	var chosen []scenario
	for _, k := range kinds {
		chosen = append(chosen, scenario{kind: k})
	}
	f, err := b.certificates(chosen)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// serveTLS serves "/100" with the files' certificate, as one of the proxies would.
func serveTLS(t *testing.T, f *tlsFiles, change func(*httptest.Server)) (addr string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/100" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, strings.Repeat("x", 100))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestCertificatesAreMadeForTheScenariosThatNeedThem(t *testing.T) {
	if f := testFiles(t, 3, kindHTTP, kindH2); f != nil {
		t.Errorf("without TLS there are %+v", f)
	}
	if f := testFiles(t, 3, kindHTTP, kindTLSH2); f == nil || f.dir != "" {
		t.Errorf("with TLS there are %+v", f)
	}
	f := testFiles(t, 3, kindSites)
	for i := range 3 {
		cert := filepath.Join(f.dir, fmt.Sprintf("site%d.crt", i))
		pair, err := tls.LoadX509KeyPair(cert, cert+".key")
		if err != nil || pair.Leaf.VerifyHostname(nameOfSite(i)) != nil {
			t.Errorf("site %d: %v", i, err)
		}
	}
	list := filepath.Join(t.TempDir(), "list")
	if err := writeSiteList(list, "/d", 2); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(list); err != nil || string(b) != "/d/site0.crt\n/d/site1.crt\n" {
		t.Errorf("list: %q, %v", b, err)
	}
}

func TestProbeWantsTheSameWorkOfAll(t *testing.T) {
	f := testFiles(t, 0, kindTLS)
	for name, c := range map[string]struct {
		change   func(*httptest.Server)
		protocol string
		site     string
		wrong    string
	}{
		"as configured":       {nil, "http/1.1", siteName, ""},
		"HTTP/2":              {func(s *httptest.Server) { s.EnableHTTP2 = true }, "h2", siteName, ""},
		"no HTTP/2":           {nil, "h2", siteName, "protocol"},
		"another certificate": {nil, "http/1.1", "other.example", "other.example"},
		"two certificates": {func(s *httptest.Server) {
			pair := &s.TLS.Certificates[0]
			pair.Certificate = append(pair.Certificate, pair.Certificate[0])
		}, "http/1.1", siteName, "2 certificates"},
		"TLS 1.2": {func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS12 }, "http/1.1", siteName, "version"},
		"another curve": {func(s *httptest.Server) {
			s.TLS.CurvePreferences = []tls.CurveID{tls.CurveP256}
		}, "http/1.1", siteName, "handshake failure"},
	} {
		addr := serveTLS(t, f, c.change)
		err := dialAskTLS(addr, f.client(c.site, c.protocol), "/100", askLimit)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", name, err, c.wrong)
		}
	}
	suite := tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, CurveID: tls.X25519}
	suite.PeerCertificates = make([]*x509.Certificate, 1)
	if sameWork(suite) == nil {
		t.Error("another cipher suite is the same work")
	}
}

func TestHandshakesAreCounted(t *testing.T) {
	f := testFiles(t, 0, kindTLS)
	addr := serveTLS(t, f, nil)
	mute := serveTLS(t, f, func(s *httptest.Server) { s.TLS.SessionTicketsDisabled = true })
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, c := range map[string]struct {
		greeting
		want func(tally) bool
	}{
		"new":         {greeting{addr, "/100", false}, func(x tally) bool { return len(x.times) > 0 && x.bytes == int64(100*len(x.times)) }},
		"resumed":     {greeting{addr, "/100", true}, func(x tally) bool { return len(x.times) > 0 }},
		"no tickets":  {greeting{mute, "/100", true}, func(x tally) bool { return x.unlike > 0 }},
		"not found":   {greeting{addr, "/nothing", false}, func(x tally) bool { return x.read > 0 }},
		"without TLS": {greeting{plain.Listener.Addr().String(), "/100", false}, func(x tally) bool { return x.connect > 0 }},
	} {
		got := c.run(2, 50*time.Millisecond)
		kinds := 0
		for _, n := range []int{len(got.times), got.read, got.unlike, got.connect} {
			if n > 0 {
				kinds++
			}
		}
		if !c.want(got) || kinds != 1 || got.elapsed < 50*time.Millisecond {
			t.Errorf("%s: %d good, %d to connect, %d later, %d resumed or not", name, len(got.times), got.connect, got.read, got.unlike)
		}
	}
}

func TestHandshakesPrintsWhatTheBenchReads(t *testing.T) {
	addr := serveTLS(t, testFiles(t, 0, kindTLS), nil)
	var out bytes.Buffer
	if err := runHandshakes([]string{"-addr", addr, "-path", "/100", "-connections", "2", "-d", "50ms", "-resume"}, &out); err != nil {
		t.Fatal(err)
	}
	r, err := parseLoad(out.String())
	if err != nil || r.requests == 0 || r.bytes != 100*r.requests || r.failed != 0 || r.p99 < r.p50 || r.p50 == 0 {
		t.Errorf("%+v, %v from %q", r, err, out.String())
	}
	if err := runHandshakes([]string{"-d", "long"}, &out); err == nil {
		t.Error("any duration will do")
	}
}

func TestTLSVisitorComesBack(t *testing.T) {
	addr := serveTLS(t, testFiles(t, 0, kindTLS), nil)
	g := gather(context.Background(), addr, 20, tlsVisitor)
	defer g.close()
	g.askAgain(context.Background())
	if g.failed != 0 {
		t.Errorf("%d of 40 requests failed", g.failed)
	}
}

func TestSelfMadeFilesAreOfTheNameAsked(t *testing.T) {
	a, err := certs.NewAuthority("other")
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSites(filepath.Join(t.TempDir(), "no", "where"), a, 1); err == nil {
		t.Error("files without a directory")
	}
}

func TestLoadURL(t *testing.T) {
	for _, c := range []struct {
		tls  bool
		want string
	}{{false, "http://h:1/p"}, {true, "https://h:1/p"}} {
		if got := (&load{tls: c.tls, path: "/p"}).url("h:1"); got != c.want {
			t.Errorf("url = %s, want %s", got, c.want)
		}
	}
}
