package secret

import (
	"maps"
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/resource"
)

// genericPlan is how a generic secret is made of its message.
func genericPlan(m *tlsv3.GenericSecret) func() plan[Generic] {
	pl := plan[Generic]{}
	if m.GetSecret() != nil {
		pl.parts = append(pl.parts, part{"secret", m.GetSecret()})
	}
	names := slices.Sorted(maps.Keys(m.GetSecrets()))
	for _, name := range names {
		pl.parts = append(pl.parts, part{resource.Path("secrets").Key(name), m.GetSecrets()[name]})
	}
	pl.build = func(in *inputs) (*Generic, error) {
		if len(in.parts) == 0 {
			return nil, faultf("", "give it a secret", "the generic secret is empty")
		}
		out, rest := &Generic{}, in.data
		if m.GetSecret() != nil {
			out.Secret, rest = rest[0], rest[1:]
		}
		if len(names) > 0 {
			out.Secrets = make(map[string][]byte, len(names))
		}
		for i, name := range names {
			out.Secrets[name] = rest[i]
		}
		return out, nil
	}
	return func() plan[Generic] { return pl }
}
