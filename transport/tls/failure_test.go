package tls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/socket"
)

func TestFailuresInEnvoysWords(t *testing.T) {
	remote := func(n uint8) error { return &net.OpError{Op: "remote error", Err: tls.AlertError(n)} }
	for _, c := range []struct {
		err  error
		kind failureKind
		text string
	}{
		{io.EOF, failureGone, ""},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), failureGone, ""},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, failureGone, ""},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, failureTLS, "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"},
		{errNotReady, failureNotReady, "TLS error: Secret is not supplied by SDS"},
		{remote(42), failureTLS, "TLS_error:|268436498:SSL routines:OPENSSL_internal:SSLV3_ALERT_BAD_CERTIFICATE:TLS_error_end"},
		{remote(45), failureTLS, "TLS_error:|268436501:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end"},
		{remote(48), failureTLS, "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"},
		{remote(201), failureTLS, "TLS_error:" + tls.AlertError(201).Error() + ":TLS_error_end"},
		{errors.New("tls: no key exchanges supported by both client and server"), failureTLS, "TLS_error:|268435722:SSL routines:OPENSSL_internal:NO_SHARED_GROUP:TLS_error_end"},
		{errors.New("tls: something else"), failureTLS, "TLS_error:tls: something else:TLS_error_end"},
	} {
		if f := explain(c.err); f.kind != c.kind || f.text != c.text {
			t.Errorf("%v: %d %q", c.err, f.kind, f.text)
		}
	}
}

func TestEachAlertIsKnownByItsText(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range alerts {
		text := tls.AlertError(a.number).Error()
		if strings.Contains(text, "alert(") || seen[text] {
			t.Errorf("%d: %q", a.number, text)
		}
		seen[text] = true
	}
}

func TestTheClientsAlertIsTold(t *testing.T) {
	s, r := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c", dns: []string{"example.com"}}))
	for _, v := range both {
		o := shake(t, s, &tls.Config{ServerName: "example.com", RootCAs: x509.NewCertPool(), MaxVersion: v})
		if o.err == nil || !strings.Contains(o.info.TransportFailure, "TLSV1_ALERT_UNKNOWN_CA") && !strings.Contains(o.info.TransportFailure, "SSLV3_ALERT_BAD_CERTIFICATE") {
			t.Errorf("%x: %v, %q", v, o.err, o.info.TransportFailure)
		}
	}
	if r.count("connection_error") != 2 || r.count("handshake") != 0 {
		t.Errorf("connection_error is %d", r.count("connection_error"))
	}
}

func TestASecretWithoutAValueFailsTheHandshake(t *testing.T) {
	s, r := serve(t, &tlsv3.DownstreamTlsContext{}, issue(t, nil, wish{name: "c"}))
	good := s.common.pairs
	s.common.pairs = []*secret.Slot[secret.KeyPair]{{}}
	s.current.Store(nil)
	o := shake(t, s, anyone())
	if !errors.Is(o.err, errNotReady) || o.theirs == nil || r.value("server_ssl_socket_factory.downstream_context_secrets_not_ready") != 1 || r.count("connection_error") != 0 {
		t.Errorf("%v, %v", o.err, o.theirs)
	}
	s.common.pairs = good
	shake(t, s, anyone()).ok(t)
}

func TestTheFactoriesAreForTheirSides(t *testing.T) {
	down, up := Downstream(), Upstream()
	if down.NewServer == nil || down.NewClient != nil || up.NewServer != nil || up.NewClient == nil {
		t.Error("a side too many, or too few")
	}
	if _, err := socket.NewRegistry(down, up); err != nil {
		t.Error(err)
	}
	r := newRig(t)
	if s, err := down.NewServer(r.env(), &tlsv3.DownstreamTlsContext{}); s != nil || err != nil || !r.problems.HasErrors() {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestAnAgelessCopyLeavesTheOriginal(t *testing.T) {
	x := issue(t, nil, wish{to: time.Now().Add(-time.Minute)}).x509
	if c := ageless(x); time.Now().After(c.NotAfter) || !time.Now().After(x.NotAfter) || !c.Equal(x) {
		t.Error("not a copy")
	}
}
