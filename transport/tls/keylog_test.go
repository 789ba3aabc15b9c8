package tls

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestKeysAreLoggedForSomeAddresses(t *testing.T) {
	cert := issue(t, nil, wish{name: "c"})
	cidr := func(s string) []*corev3.CidrRange {
		return []*corev3.CidrRange{{AddressPrefix: s, PrefixLen: wrapperspb.UInt32(8)}}
	}
	for _, c := range []struct {
		name          string
		local, remote []*corev3.CidrRange
		logged        bool
	}{
		{"all", nil, nil, true},
		{"local", cidr("127.0.0.0"), nil, true},
		{"both", cidr("127.0.0.0"), cidr("127.0.0.0"), true},
		{"another local", cidr("10.0.0.0"), nil, false},
		{"another remote", cidr("127.0.0.0"), cidr("10.0.0.0"), false},
	} {
		path := filepath.Join(t.TempDir(), "keys")
		s, _ := serve(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: []string{"h2"},
			KeyLog: &tlsv3.TlsKeyLog{Path: path, LocalAddressRange: c.local, RemoteAddressRange: c.remote}}}, cert)
		for _, alpn := range []string{"h2", "foo"} {
			cfg := anyone()
			cfg.NextProtos = []string{alpn}
			shake(t, s, cfg).ok(t)
		}
		b, err := os.ReadFile(path)
		if n := strings.Count(string(b), "CLIENT_TRAFFIC_SECRET_0 "); c.logged && (err != nil || n != 2) || !c.logged && err == nil {
			t.Errorf("%s: %d lines, %v", c.name, n, err)
		}
	}
}

func TestAKeyLogThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	log, said := logs()
	r := newRig(t)
	env := r.env()
	env.Log = log
	s, err := NewServer(env, &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificates: []*tlsv3.TlsCertificate{issue(t, nil, wish{name: "c"}).message(t)}, KeyLog: &tlsv3.TlsKeyLog{Path: t.TempDir()}}})
	if err != nil || s == nil {
		t.Fatal(err, r.problems.All())
	}
	for range 2 {
		shake(t, s, anyone()).ok(t)
	}
	if n := strings.Count(said.String(), "TLS keys cannot be logged"); n != 1 {
		t.Errorf("said %d times: %s", n, said)
	}
}
