//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftproxy/weft/test/certs"
)

// siteName is the server name of the scenarios with one certificate.
const siteName = "bench.example"

// tlsFiles are the certificates that proxies serve, made once for a run. All are ECDSA on P-256, from one authority.
type tlsFiles struct {
	dir       string // of the certificates by name; empty when there are none
	cert, key string // of siteName
	pool      *x509.CertPool
}

// certificates makes the files that the chosen scenarios need in the scratch directory.
func (b *bench) certificates(chosen []scenario) (*tlsFiles, error) {
	encrypted := func(s scenario) bool { return setup{Kind: s.kind}.TLS() }
	if !slices.ContainsFunc(chosen, encrypted) {
		return nil, nil
	}
	authority, err := certs.NewAuthority("bench")
	if err != nil {
		return nil, err
	}
	f := &tlsFiles{pool: authority.Pool()}
	one, err := authority.Issue(certs.Request{Name: siteName, DNS: []string{siteName}})
	if err != nil {
		return nil, err
	}
	if f.cert, f.key, err = one.Write(b.dir, "bench"); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.kind == kindSites }) {
		fmt.Fprintf(b.progress, "making %d certificates\n", b.options.sites)
		f.dir = filepath.Join(b.dir, "sites")
		err = writeSites(f.dir, authority, b.options.sites)
	}
	return f, err
}

// writeSites writes a certificate for each of the first n site names.
func writeSites(dir string, authority *certs.Authority, n int) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		pair, err := authority.Issue(certs.Request{Name: nameOfSite(i), DNS: []string{nameOfSite(i)}})
		if err != nil {
			return err
		}
		if _, _, err := pair.Write(dir, fmt.Sprintf("site%d", i)); err != nil {
			return err
		}
	}
	return nil
}

func nameOfSite(i int) string { return fmt.Sprintf("site%d.example", i) }

// writeSiteList writes HAProxy's list of certificates.
func writeSiteList(path, dir string, sites int) error {
	var b strings.Builder
	for i := range sites {
		fmt.Fprintf(&b, "%s/site%d.crt\n", dir, i)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// client returns what a client that verifies the certificate of this name uses.
func (f *tlsFiles) client(name string, protocols ...string) *tls.Config {
	c := clientTLS()
	c.ServerName, c.NextProtos = name, protocols
	c.InsecureSkipVerify, c.RootCAs = false, f.pool
	return c
}

// clientTLS is how the bench's own clients offer TLS: the one version and key exchange that all proxies are configured for. They do
// not verify the certificate, to have their CPU for more connections; whether it is the right one the start of each proxy has shown.
func clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, ServerName: siteName,
		NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true,
	}
}

// sameWork returns an error unless the connection uses what all proxies are to use, so that they do the same work.
func sameWork(s tls.ConnectionState) error {
	var errs []error
	if s.Version != tls.VersionTLS13 || s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || s.CurveID != tls.X25519 {
		errs = append(errs, fmt.Errorf("%s with %s and %v, want TLS 1.3 with TLS_AES_128_GCM_SHA256 and X25519",
			tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.CurveID))
	}
	if len(s.PeerCertificates) != 1 {
		errs = append(errs, fmt.Errorf("%d certificates, want 1", len(s.PeerCertificates)))
	}
	return errors.Join(errs...)
}
