package secret

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// errPassword is that a key cannot be read without the right password.
var errPassword = errors.New("the password is wrong, or the key is damaged")

// errNoPassword is that an encrypted key comes without a password.
var errNoPassword = errors.New("the key is encrypted and there is no password")

// keyFault says where and how a private key was bad.
func keyFault(in *inputs, err error) error {
	name := in.parts[partKey].name()
	switch {
	case errors.Is(err, errPassword):
		return faultf("password", "check the password, and that its file does not end with a newline",
			"Failed to load private key from %s: %v", name, err)
	case errors.Is(err, errNoPassword):
		return faultf("private_key", "give the password in the field password", "Failed to load private key from %s: %v", name, err)
	}
	return faultf("private_key", "it wants PEM: a PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or ENCRYPTED PRIVATE KEY block",
		"Failed to load private key from %s: %v", name, err)
}

// parseKey reads the first private key of a PEM text. A password is used only if it is encrypted.
func parseKey(text, password []byte) (crypto.PrivateKey, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, noBlock(text, "private key")
		}
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			if x509.IsEncryptedPEMBlock(block) { // deprecated, but people have such keys and Envoy reads them
				return decryptPEM(block, password)
			}
			return parseKeyDER(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			if len(password) == 0 {
				return nil, errNoPassword
			}
			key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, password)
			if err != nil {
				return nil, fmt.Errorf("%w (%w)", errPassword, err)
			}
			return supported(key)
		}
	}
}

// decryptPEM reads a key that is encrypted as its PEM headers say (RFC 1421). That has no checksum: what a wrong password makes of it may be
// no key at all.
func decryptPEM(block *pem.Block, password []byte) (crypto.PrivateKey, error) {
	if len(password) == 0 {
		return nil, errNoPassword
	}
	der, err := x509.DecryptPEMBlock(block, password)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errPassword, err)
	}
	key, err := parseKeyDER(der)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errPassword, err)
	}
	return key, nil
}

// parseKeyDER reads a key in any of the forms that PEM blocks hold, whatever their label says.
func parseKeyDER(der []byte) (crypto.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err == nil {
		return supported(key)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return supported(key)
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return supported(key)
	}
	return nil, err
}

// supported refuses keys that TLS has no use for.
func supported(key any) (crypto.PrivateKey, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T is of no use for TLS", key)
}

// parsePKCS12 reads a PKCS #12 file: a key, its certificate and others.
func parsePKCS12(der []byte, password string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	found, leaf, more, err := pkcs12.DecodeChain(der, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, faultf("password", "check the password, and that its file does not end with a newline",
			"Failed to load pkcs12: the password is wrong, or there is none")
	case err != nil:
		return nil, nil, faultf("pkcs12", "it wants a binary PKCS #12 file with one key and its certificate", "Failed to load pkcs12: %v", err)
	}
	key, err := supported(found)
	if err != nil {
		return nil, nil, faultf("pkcs12", "", "Failed to load pkcs12: %v", err)
	}
	return append([]*x509.Certificate{leaf}, more...), key, nil
}

// parseChain reads the certificates of a PEM text: the leaf, then the others.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	rest := text
	for {
		var block *pem.Block
		before := rest
		if block, rest = pem.Decode(rest); block == nil {
			if len(out) == 0 {
				return nil, noBlock(text, "certificate")
			}
			if cutShort(before) {
				return nil, noBlock(before, "certificate")
			}
			return out, nil
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue // such as a private key in the same file
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
}

// cutShort says whether a text, in which no PEM block was found, has the beginning of one.
func cutShort(text []byte) bool { return bytes.Contains(text, []byte("-----BEGIN")) }

// noBlock is why no PEM block was found.
func noBlock(text []byte, what string) error {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("it is empty")
	case cutShort(text):
		return errors.New("a PEM block is cut short, damaged or of another kind: no " + what)
	}
	return errors.New("no PEM block with a " + what)
}
