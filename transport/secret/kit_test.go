package secret

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.uber.org/goleak"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 30 * time.Second

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// must returns v; the test ends if there is an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ca makes an authority; leaf one of its certificates.
func ca() *certs.Authority { return must(certs.NewAuthority("root")) }

func leaf(names ...string) *certs.Pair {
	return must(ca().Issue(certs.Request{Name: "leaf", DNS: names}))
}

func text(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(b)}}
}

func octets(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

func env(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: name}}
}

// inlined is a pair as the configuration has it.
func inlined(p *certs.Pair) *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: text(p.PEM()), PrivateKey: text(must(p.KeyPEM()))}
}

// write writes a file in place.
func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// rename writes a file beside another and moves it over it.
func rename(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.Rename(write(t, name+".new", b), name); err != nil {
		t.Fatal(err)
	}
}

// swap points a link, made if it is not there, to something else in one step.
func swap(t *testing.T, link, to string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// writePair writes tls.crt and tls.key to a directory, made if it is not there.
func writePair(t *testing.T, dir string, p *certs.Pair) *tlsv3.TlsCertificate {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls.crt"), p.PEM())
	write(t, filepath.Join(dir, "tls.key"), must(p.KeyPEM()))
	return filed(dir)
}

// filed is a certificate from tls.crt and tls.key in a directory.
func filed(dir string) *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: file(filepath.Join(dir, "tls.crt")), PrivateKey: file(filepath.Join(dir, "tls.key"))}
}

// oldPEM is a pair's key in the encryption of RFC 1421.
func oldPEM(p *certs.Pair, password string) []byte {
	der := must(x509.MarshalPKCS8PrivateKey(p.Key))
	block := must(x509.EncryptPEMBlock(zeros{}, "PRIVATE KEY", der, []byte(password), x509.PEMCipherAES256))
	return pem.EncodeToMemory(block)
}

// zeros is a poor source of randomness.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// static is a compiled secret; the test ends if it has problems.
func static(t *testing.T, s *Store, m *tlsv3.Secret) *Static {
	t.Helper()
	p := &resource.Problems{}
	st := s.Compile(m, "secrets[0]", p)
	if p.HasErrors() || st == nil {
		t.Fatalf("problems: %v", p.All())
	}
	return st
}

func certSecret(name string, m *tlsv3.TlsCertificate) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: m}}
}

func trustSecret(name string, m *tlsv3.CertificateValidationContext) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: m}}
}

// ref names a secret.
func ref(name string) *tlsv3.SdsSecretConfig { return &tlsv3.SdsSecretConfig{Name: name} }

// pairSlot is the slot of an inline certificate; the test ends if it has problems.
func pairSlot(t *testing.T, s *Store, m *tlsv3.TlsCertificate) *Slot[KeyPair] {
	t.Helper()
	p := &resource.Problems{}
	slot := s.View().KeyPair(m, "c", p)
	if slot == nil || p.HasErrors() {
		t.Fatalf("problems: %v", p.All())
	}
	return slot
}

// wantProblem checks that there is one error, at a place, with a text in it.
func wantProblem(t *testing.T, p *resource.Problems, at, part string) {
	t.Helper()
	if p.Len() == 0 || !p.HasErrors() {
		t.Fatalf("no error; want %s: %s", at, part)
	}
	got := p.All()[p.Len()-1]
	if string(got.Path) != at || !strings.Contains(got.Message, part) {
		t.Errorf("problem %s\nwant %s: ...%s...", got, at, part)
	}
}

// A journal is a log that tests read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), part)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }
