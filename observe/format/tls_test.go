package format

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe"
)

// certificate is one with the serial number, the names and the SANs given, which begin with their tags: "6spiffe://a".
func certificate(serial int64, name string, sans ...string) *x509.Certificate {
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			panic(err)
		}
		return b
	}
	var names []asn1.RawValue
	for _, s := range sans {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: int(s[0] - '0'), IsCompound: s[0] == '0', Bytes: []byte(s[1:])})
	}
	return &x509.Certificate{
		Raw: []byte(name), SerialNumber: big.NewInt(serial), RawSubject: der(pkix.Name{CommonName: name}.ToRDNSequence()),
		RawIssuer: der(pkix.Name{CommonName: "ca of " + name}.ToRDNSequence()),
		NotBefore: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der(names)}},
	}
}

// otherName is the DER form of an otherName with a UTF-8 text, without its tag.
const otherName = "\x06\x02\x2a\x03\xa0\x04\x0c\x02up"

// tlsOf is a handshake in which both sides showed a certificate; who is in all its names.
func tlsOf(who string) *conn.TLS {
	leaf, ca := certificate(0xa0b, who, "6uri-"+who, "6u2", "2dns-"+who, "2d2", "7\x0a\x00\x00\x01", "1mail-"+who, "0"+otherName), certificate(2, "ca")
	return &conn.TLS{Version: "TLSv1.3", Cipher: "TLS_" + who, Curve: "X25519", SessionID: "id", SNI: "sni-" + who,
		Peer: conn.NewCertificate(leaf), Chain: []*x509.Certificate{leaf, ca},
		Local: conn.NewCertificate(certificate(3, "local-"+who, "6l-uri", "2l-dns", "7\x0a\x00\x00\x02", "1l-mail", "0"+otherName))}
}

func TestTLSOperatorsPrintWhatEnvoyPrints(t *testing.T) {
	pem := tlsOf("down").Peer.Facts().PEM
	sum256 := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	sum1 := func(s string) string { h := sha1.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
	for format, want := range map[string]string{
		"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% %DOWNSTREAM_TLS_SESSION_ID%": "TLSv1.3 TLS_down X25519 id",
		"%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_TLS_GROUP% %UPSTREAM_TLS_SESSION_ID%":         "TLSv1.3 TLS_up X25519 id",
		"%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%|%DOWNSTREAM_LOCAL_SUBJECT%":                       "CN=down|CN=ca of down|CN=local-down",
		"%UPSTREAM_PEER_SUBJECT%|%UPSTREAM_PEER_ISSUER%|%UPSTREAM_LOCAL_SUBJECT%|%UPSTREAM_SERVER_NAME%":      "CN=up|CN=ca of up|CN=local-up|sni-up",
		"%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_IP_SAN%":                        "uri-down,u2 dns-down,d2 10.0.0.1",
		"%DOWNSTREAM_PEER_EMAIL_SAN% %DOWNSTREAM_PEER_OTHERNAME_SAN%":                                         "mail-down up",
		"%DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_DNS_SAN% %DOWNSTREAM_LOCAL_IP_SAN%":                     "l-uri l-dns 10.0.0.2",
		"%DOWNSTREAM_LOCAL_EMAIL_SAN% %DOWNSTREAM_LOCAL_OTHERNAME_SAN%":                                       "l-mail up",
		"%UPSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_IP_SAN%":                              "uri-up,u2 dns-up,d2 10.0.0.1",
		"%UPSTREAM_LOCAL_URI_SAN% %UPSTREAM_LOCAL_DNS_SAN% %UPSTREAM_LOCAL_IP_SAN%":                           "l-uri l-dns 10.0.0.2",
		"%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_CHAIN_SERIALS%":                                            "0a0b 0a0b,02",
		"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_FINGERPRINT_1%":                                   sum256("down") + " " + sum1("down"),
		"%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256%":                                                            sum256("down") + "," + sum256("ca"),
		"%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1%":                                                              sum1("down") + "," + sum1("ca"),
		"%DOWNSTREAM_PEER_CERT%":                                                                              pem,
		"%UPSTREAM_PEER_CERT%":                                                                                tlsOf("up").Peer.Facts().PEM,
		"%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%Y)%":                                     "2020-01-02T03:04:05.000Z 2030",
		"%UPSTREAM_PEER_CERT_V_START(%Y)% %UPSTREAM_PEER_CERT_V_END%":                                         "2020 2030-01-02T03:04:05.000Z",
		"%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%":                                                         "ja3 ja4",
		"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%":                                                               "bad_thing",
	} {
		f, err := Compile(format, Options{})
		if err != nil {
			t.Errorf("Compile(%q): %v", format, err)
			continue
		}
		if got := string(f.Append(nil, entry())); got != want {
			t.Errorf("%s\n got %q\nwant %q", format, got, want)
		}
		// Nothing is known of a connection without TLS, nor of one without certificates.
		none := strings.TrimSpace(strings.Repeat("- ", strings.Count(format, "%")/2))
		if strings.Contains(format, "|") {
			none = strings.ReplaceAll(none, " ", "|")
		}
		if strings.Contains(format, "(%Y)") {
			none = "- -"
		}
		for _, e := range []*observe.Entry{{}, {Record: &observe.Record{}, Conn: &conn.Info{}},
			{Record: &observe.Record{UpstreamTLS: &conn.TLS{}}, Conn: &conn.Info{TLS: &conn.TLS{}}}} {
			if got := string(f.Append(nil, e)); got != none {
				t.Errorf("%s of nothing\n got %q\nwant %q", format, got, none)
			}
		}
	}
}

func TestNamesOfCertificatesForgeNothing(t *testing.T) {
	evil := certificate(1, "cn\r\nforged: yes", "6uri\r\nforged: yes", "2dns\x00\n")
	e := &observe.Entry{Conn: &conn.Info{JA3: "j\n", TLS: &conn.TLS{Peer: conn.NewCertificate(evil), Chain: []*x509.Certificate{evil}}}}
	f, err := Compile("%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_DNS_SAN%|%TLS_JA3_FINGERPRINT%", Options{OmitEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(f.Append(nil, e)), `CN=cn\0D\0Aforged: yes|uri\x0d\x0aforged: yes|dns\x00\x0a|j\x0a`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheHandshakeOfATCPConnection(t *testing.T) {
	f, err := Compile("%DOWNSTREAM_HANDSHAKE_DURATION% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := &conn.Info{HandshakeDuration: 12345 * time.Microsecond}
	for _, c := range []struct {
		e    observe.Entry
		want string
	}{
		{observe.Entry{Conn: done, Record: &observe.Record{}}, "12 -"},
		{observe.Entry{Conn: done, Record: &observe.Record{Protocol: "HTTP/1.1"}}, "- -"},
		{observe.Entry{Conn: &conn.Info{TransportFailure: "TLS_error: x y"}, Record: &observe.Record{}}, "- TLS_error:_x_y"},
		{observe.Entry{}, "- -"},
	} {
		if got := string(f.Append(nil, &c.e)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestTLSOperatorsAllocateNothing(t *testing.T) {
	f, err := Compile("%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_CHAIN_SERIALS% %UPSTREAM_PEER_CERT% %UPSTREAM_PEER_CERT_V_END%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, buf := entry(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0], e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
