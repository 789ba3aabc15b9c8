package secret

import (
	"strconv"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// Kind is the kind of a secret.
type Kind uint8

// The kinds, one for each type in Secret.
const (
	TLSCertificate Kind = iota
	ValidationContext
	SessionTicketKeys
	GenericSecret
)

// String is the field of Secret that holds the kind.
func (k Kind) String() string {
	return [...]string{"tls_certificate", "validation_context", "session_ticket_keys", "generic_secret"}[k]
}

// kindOf is the kind of a secret; ok is false where it has no content.
func kindOf(m *tlsv3.Secret) (kind Kind, ok bool) {
	switch m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		return TLSCertificate, true
	case *tlsv3.Secret_ValidationContext:
		return ValidationContext, true
	case *tlsv3.Secret_SessionTicketKeys:
		return SessionTicketKeys, true
	case *tlsv3.Secret_GenericSecret:
		return GenericSecret, true
	}
	return 0, false
}

// A Ref is a place that names a secret of a kind.
type Ref struct {
	Kind Kind
	Name string
	Path resource.Path // of the SdsSecretConfig
}

// id names a secret within a Store. Secrets of different kinds may follow one another under a name.
type id struct {
	kind Kind
	name string
	from string // the source that delivers it, with how long it is waited for; "" of a static secret
}

// key is what a source is asked for.
func (i id) key() resource.Key { return resource.Key{Type: resource.Secret, Name: i.name} }

// String is the secret as messages show it.
func (i id) String() string { return "secret " + strconv.Quote(i.name) }
