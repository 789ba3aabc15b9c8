package conn

import (
	"crypto/x509"
	"strings"
	"sync"
)

// TLS is what a TLS handshake established. Immutable; not to be copied.
type TLS struct {
	Version   string // "TLSv1.2", "TLSv1.3"
	Cipher    string // OpenSSL's name, as Envoy prints it: "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"
	Suite     uint16 // the cipher suite's number in IANA's registry
	Curve     string // "X25519MLKEM768", "P-256" ...; "" where none was used
	ALPN      string // the application protocol that was agreed on; "" for none
	SNI       string // the server name that the client asked for, lower case; "" for none
	SessionID string // lower case hex; "" in TLS 1.3
	Resumed   bool   // the handshake continued an earlier session
	Verified  bool   // the peer's certificate was validated
	Peer      *Certificate
	Chain     []*x509.Certificate // as the peer sent it, its own first; nil without
	Local     *Certificate        // the one that was shown to the peer; nil without

	chainOnce sync.Once
	chain     []*Certificate
	pemOnce   sync.Once
	chainPEM  string
}

// Certificates returns the peer's chain with its facts, its own certificate first; nil without. The caller does not change it.
func (t *TLS) Certificates() []*Certificate {
	if t == nil {
		return nil
	}
	t.chainOnce.Do(func() {
		for i, x := range t.Chain {
			if i == 0 && t.Peer != nil {
				t.chain = append(t.chain, t.Peer)
				continue
			}
			t.chain = append(t.chain, NewCertificate(x))
		}
	})
	return t.chain
}

// ChainPEM returns the peer's chain, its own certificate first, as URL-encoded PEM; "" without.
func (t *TLS) ChainPEM() string {
	if t == nil {
		return ""
	}
	t.pemOnce.Do(func() {
		var b strings.Builder
		for _, c := range t.Certificates() {
			b.WriteString(c.Facts().PEM)
		}
		t.chainPEM = b.String()
	})
	return t.chainPEM
}
