package secret

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
)

// A KeyPair is a certificate with its private key (TlsCertificate). Immutable.
type KeyPair struct {
	Certificate  tls.Certificate   // with Leaf; without OCSPStaple
	Facts        *conn.Certificate // of the leaf, shared by all connections
	Names        []string          // that SNI may select it by: DNS SANs, or else the common name; lower case, "*.example.com" for wildcards
	Staple       []byte            // DER of the OCSP response of ocsp_staple; nil without
	StapleBegins time.Time         // this update of the staple; zero without
	StapleEnds   time.Time         // next update of the staple; zero without, or if the response has none: Envoy takes it as expired then
	MustStaple   bool              // the certificate has the TLS feature extension with status_request
	Source       string            // where it is from, for /certs: a file name or "<inline>"
}

// A Validation is what peers are validated with (CertificateValidationContext). Immutable.
type Validation struct {
	Message *tlsv3.CertificateValidationContext // as configured, default and dynamic parts merged; its data sources are read into what follows
	Roots   []*x509.Certificate                 // trusted_ca; nil without, and of the system's certificates
	Pool    *x509.CertPool                      // of Roots, or the system's (system_root_certs); nil: no chain is verified
	CRLs    []*x509.RevocationList              // of crl
	Trust   map[string]*x509.CertPool           // SPIFFE trust bundles by trust domain (custom_validator_config); nil without
	Source  string                              // of Roots, for /certs
}

// TicketKeys are keys of session tickets, 80 bytes each in Envoy's format (TlsSessionTicketKeys): the first one encrypts. Immutable.
type TicketKeys struct {
	Keys [][32]byte // hashes of the configured keys, as crypto/tls takes them
}

// A Generic is any other secret (GenericSecret). Immutable.
type Generic struct {
	Secret  []byte
	Secrets map[string][]byte
}
