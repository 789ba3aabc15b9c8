package secret

import (
	"crypto/sha256"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// ticketKeySize is the length of a session ticket key in Envoy's format: a name, a key for HMAC and one for AES.
const ticketKeySize = 80

// ticketKeysPlan is how session ticket keys are made of their message.
func ticketKeysPlan(m *tlsv3.TlsSessionTicketKeys) func() plan[TicketKeys] {
	parts := make([]part, len(m.GetKeys()))
	for i, src := range m.GetKeys() {
		parts[i] = part{resource.Path("keys").Index(i), src}
	}
	pl := plan[TicketKeys]{parts: parts, build: parseTicketKeys}
	return func() plan[TicketKeys] { return pl }
}

func parseTicketKeys(in *inputs) (*TicketKeys, error) {
	if len(in.parts) == 0 {
		return nil, faultf("keys", "make one with: openssl rand 80", "there has to be at least one session ticket key")
	}
	out := &TicketKeys{}
	for i, b := range in.data {
		if len(b) != ticketKeySize {
			return nil, faultf(in.parts[i].field, "make one with: openssl rand 80",
				"incorrect TLS session ticket key length: %d bytes, want %d", len(b), ticketKeySize)
		}
		out.Keys = append(out.Keys, sha256.Sum256(b))
	}
	return out, nil
}
