package secret

import (
	"strconv"

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
}

// String is the secret as messages show it.
func (i id) String() string { return "secret " + strconv.Quote(i.name) }
