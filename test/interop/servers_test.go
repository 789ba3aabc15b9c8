//go:build interop

package interop

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// big is the size of files whose integrity is checked.
const big = 100 << 20

// An nginx is a running nginx.
type nginx struct {
	*process
	addr, http2 string // where it speaks HTTP/1.1, and HTTP/2 with prior knowledge
	tls         string // where it speaks both in TLS, if it has certificates
	root        string // what it serves, and what PUT writes to
}

// nginxConfig serves files in the ways that differ on the wire. NEXT is an upstream for /next/, SECURE the directives of TLS.
const nginxConfig = `
daemon off; master_process off; pid ROOT/nginx.pid; error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off; log_not_found off; default_type application/octet-stream; types { text/plain txt; text/html html; }
  client_body_temp_path ROOT/body; proxy_temp_path ROOT/proxy; fastcgi_temp_path ROOT/fastcgi; uwsgi_temp_path ROOT/uwsgi;
  scgi_temp_path ROOT/scgi;
  client_max_body_size 0; keepalive_requests 1000000; gzip_types text/plain; gzip_min_length 1; gzip_http_version 1.0; gzip_proxied any;
  upstream next { server NEXT; keepalive 8; }
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen LISTEN; listen HTTP2 http2; SECURE root ROOT/files;
    location / { gzip on; }
    location /few/ { alias ROOT/files/; keepalive_requests 7; }
    location /once/ { alias ROOT/files/; keepalive_timeout 0; }
    location /plain/ { alias ROOT/files/; }
    location /closed/ { alias ROOT/files/; gzip on; chunked_transfer_encoding off; }
    location /trailer/ { alias ROOT/files/; gzip on; add_trailer X-Sum "of $uri"; }
    location /slow/ { alias ROOT/files/; limit_rate 64k; limit_rate_after 16k; }
    location /put/ { alias ROOT/put/; dav_methods PUT DELETE; }
    location /moved { return 301 http://elsewhere.example/there; }
    location /nothing { return 204; }
    location /hints { return 200 "method $request_method host $host proto $server_protocol\n"; }
    location /next/ { proxy_pass http://next; proxy_request_buffering off; proxy_buffering off; PROXY_VERSION }
  }
}
`

// startNginx runs nginx with small.txt, empty.txt, text.txt and big.bin until the test ends. What is below /next/ goes to next, with HTTP/1.0
// or HTTP/1.1.
func startNginx(t *testing.T, next, version string) *nginx {
	return startSecureNginx(t, nil, next, version)
}

// startSecureNginx is startNginx with TLS, if there are certificates: p.local, and more directives.
func startSecureNginx(t *testing.T, p *papers, next, version string, directives ...string) *nginx {
	t.Helper()
	path := tool(t, "nginx", "/usr/sbin/nginx")
	n := &nginx{addr: freeAddr(t), http2: freeAddr(t), root: t.TempDir()}
	for _, dir := range []string{"files", "put"} {
		if err := os.Mkdir(filepath.Join(n.root, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"small.txt": strings.Repeat("small ", 20) + "\n", "empty.txt": "", "text.txt": strings.Repeat("All work and no play makes a dull text.\n", 5000),
	} {
		if err := os.WriteFile(filepath.Join(n.root, "files", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	protocol := `proxy_set_header Host $http_host;`
	if version == "1.1" {
		protocol += ` proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;`
	}
	if next == "" {
		next = "127.0.0.1:9"
	}
	secure := ""
	if p != nil {
		n.tls = freeAddr(t)
		secure = fmt.Sprintf("listen %s ssl http2; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3; %s",
			n.tls, p.local.cert, p.local.key, strings.Join(directives, " "))
	}
	config := strings.NewReplacer("ROOT", n.root, "LISTEN", n.addr, "HTTP2", n.http2, "NEXT", next, "PROXY_VERSION", protocol, "SECURE", secure).
		Replace(nginxConfig)
	n.process = start(t, path, "-c", write(t, "nginx.conf", config), "-p", n.root, "-e", "stderr")
	n.ready(n.addr, n.http2)
	return n
}

// An haproxy is a running HAProxy in front of one server.
type haproxy struct {
	*process
	addr string
}

// haproxyConfig passes everything on. SERVER are more words for its server.
const haproxyConfig = `
global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout tunnel 30s
frontend main
  bind LISTEN
  default_backend up
backend up
  http-reuse always
  option httpchk GET /check
  server up UP SERVER
`

// startHAProxy runs HAProxy in front of a server until the test ends. words are more keywords of its server line.
func startHAProxy(t *testing.T, server string, words ...string) *haproxy {
	t.Helper()
	path := tool(t, "haproxy", "/usr/sbin/haproxy")
	h := &haproxy{addr: freeAddr(t)}
	config := strings.NewReplacer("LISTEN", h.addr, "UP", server, "SERVER", strings.Join(words, " ")).Replace(haproxyConfig)
	h.process = start(t, path, "-db", "-f", write(t, "haproxy.cfg", config))
	h.ready(h.addr)
	return h
}

// serve runs a net/http server for HTTP/1.1 and, with prior knowledge, HTTP/2 until the test ends and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	both := &http.Protocols{}
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: both}
	return listen(t, s, s.Serve)
}

// serveTLS is serve in TLS, where the versions are chosen by ALPN.
func serveTLS(t *testing.T, h http.Handler, i identity) string {
	t.Helper()
	s := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{i.TLS()}, MinVersion: tls.VersionTLS12}}
	return listen(t, s, func(ln net.Listener) error { return s.ServeTLS(ln, "", "") })
}

// listen has a server serve until the test ends and returns its address.
func listen(t *testing.T, s *http.Server, run func(net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	s.ReadHeaderTimeout = patience
	done := make(chan error, 1)
	go func() { done <- run(ln) }() // ends with Close
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// origin is a net/http server's handler: /echo returns the body and its trailers, /sum the SHA-256 of the body, /bytes as many as the query says.
func origin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-peer", r.Header.Get("x-forwarded-for"))
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.RequestURI)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("x-transfer-encoding", strings.Join(r.TransferEncoding, ","))
		for name := range r.Trailer {
			w.Header().Add("trailer", name)
		}
		w.Write(body)
		http.NewResponseController(w).Flush()
		for name, values := range r.Trailer {
			w.Header().Set(name, values[0])
		}
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		if _, err := io.Copy(hash, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, hex.EncodeToString(hash.Sum(nil)))
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "after the hints")
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range 10 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			<-tick.C
		}
	})
	return mux
}

// noise writes a file of n bytes that do not compress and returns the hex SHA-256 of it.
func noise(t *testing.T, path string, n int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), n); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// fileSum is the hex SHA-256 of a file.
func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return sum(t, f)
}

// sum is the hex SHA-256 of what r still has.
func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
