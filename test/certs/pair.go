package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// A Pair is a certificate with its private key.
type Pair struct {
	Leaf  *x509.Certificate
	Key   crypto.Signer
	Chain []*x509.Certificate // who signed the leaf, and so on; without the root
}

// PEM is the leaf and behind it the chain.
func (p *Pair) PEM() []byte {
	out := block("CERTIFICATE", p.Leaf.Raw)
	for _, c := range p.Chain {
		out = append(out, block("CERTIFICATE", c.Raw)...)
	}
	return out
}

// KeyPEM is the private key in PKCS #8.
func (p *Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, err
	}
	return block("PRIVATE KEY", der), nil
}

// EncryptedKeyPEM is the private key in PKCS #8 that password opens.
func (p *Pair) EncryptedKeyPEM(password string) ([]byte, error) {
	der, err := pkcs8.MarshalPrivateKey(p.Key, []byte(password), nil)
	if err != nil {
		return nil, err
	}
	return block("ENCRYPTED PRIVATE KEY", der), nil
}

// PKCS12 is leaf, chain and key in one file that password opens.
func (p *Pair) PKCS12(password string) ([]byte, error) {
	return pkcs12.Modern.Encode(p.Key, p.Leaf, p.Chain, password)
}

// TLS is the pair as crypto/tls takes it.
func (p *Pair) TLS() tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{p.Leaf.Raw}, PrivateKey: p.Key, Leaf: p.Leaf}
	for _, above := range p.Chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c
}

// Write writes PEM and KeyPEM to dir as name.crt and name.crt.key, the names under which HAProxy finds both, and returns their paths.
func (p *Pair) Write(dir, name string) (cert, key string, err error) {
	text, err := p.KeyPEM()
	if err != nil {
		return "", "", err
	}
	cert = filepath.Join(dir, name+".crt")
	key = cert + ".key"
	if err := os.WriteFile(cert, p.PEM(), 0o644); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, text, 0o600)
}
