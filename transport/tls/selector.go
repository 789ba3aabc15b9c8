package tls

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/transport/secret"
)

// A certificate is the value that a slot had when its selector was made. Immutable.
type certificate struct {
	slot    *secret.Slot[secret.KeyPair]
	pair    *secret.KeyPair
	plain   *tls.Certificate
	stapled *tls.Certificate // with the OCSP response; nil without one
	rank    int              // of the key's type: what clients that can do both are shown comes first
}

func newCertificate(slot *secret.Slot[secret.KeyPair], pair *secret.KeyPair) *certificate {
	c := &certificate{slot: slot, pair: pair, plain: &pair.Certificate, rank: 1}
	if len(pair.Staple) > 0 {
		with := pair.Certificate
		with.OCSPStaple = pair.Staple
		c.stapled = &with
	}
	switch pair.Certificate.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		c.rank = 0
	case *rsa.PublicKey:
		c.rank = 2
	}
	return c
}

// A selector chooses the certificate that a client is shown. Immutable.
type selector struct {
	all      []*certificate            // as configured, at least one
	names    map[string][]*certificate // by name, ".example.com" for wildcards; one of each type of key, by rank
	scan     []*certificate            // one of each kind, by rank: what may be shown where names do not decide
	policy   tlsv3.DownstreamTlsContext_OcspStaplePolicy
	fullScan bool // full_scan_certs_on_sni_mismatch
}

// index fills names and scan. Of certificates with the same name and type of key the first one counts.
func (s *selector) index() {
	s.names = make(map[string][]*certificate, len(s.all))
	for _, c := range s.all {
		for _, name := range c.pair.Names {
			key := match.LowerASCII(name)
			if strings.HasPrefix(key, "*.") {
				key = key[1:]
			}
			s.names[key] = addRanked(s.names[key], c, func(o *certificate) bool { return o.rank == c.rank })
		}
		s.scan = addRanked(s.scan, c, func(o *certificate) bool { return s.alike(o, c) })
	}
}

// alike reports whether whoever can be shown the one can be shown the other.
func (s *selector) alike(a, b *certificate) bool {
	if a.rank != b.rank || s.policy != tlsv3.DownstreamTlsContext_LENIENT_STAPLING || a.pair.MustStaple || b.pair.MustStaple {
		return false
	}
	x, ok := a.pair.Certificate.Leaf.PublicKey.(*ecdsa.PublicKey)
	y, also := b.pair.Certificate.Leaf.PublicKey.(*ecdsa.PublicKey)
	return ok == also && (!ok || x.Curve == y.Curve)
}

// addRanked adds c behind those of its rank, unless there is one like it.
func addRanked(list []*certificate, c *certificate, like func(*certificate) bool) []*certificate {
	if slices.ContainsFunc(list, like) {
		return list
	}
	i := slices.IndexFunc(list, func(o *certificate) bool { return o.rank > c.rank })
	if i < 0 {
		return append(list, c)
	}
	return slices.Insert(list, i, c)
}

// choose finds the certificate for a client by the name it asks for: the exact one, the wildcard of its domain, else the first one
// configured. Without a name it is the best that the client can use. What is forbidden by the policy for OCSP is only chosen where there
// is nothing else.
func (s *selector) choose(hello *tls.ClientHelloInfo) (*certificate, stapling) {
	asked := asksForStaple(hello)
	if len(s.all) == 1 {
		return s.all[0], s.all[0].stapling(s.policy, asked)
	}
	name := match.LowerASCII(hello.ServerName)
	probe := *hello
	probe.ServerName = "" // names are looked at here
	if name != "" {
		if c, st := s.first(s.names[name], &probe, asked); c != nil {
			return c, st
		}
		if dot := strings.IndexByte(name[1:], '.'); dot >= 0 {
			if c, st := s.first(s.names[name[1+dot:]], &probe, asked); c != nil {
				return c, st
			}
		}
	}
	if name == "" || s.fullScan {
		if c, st := s.first(s.scan, &probe, asked); c != nil {
			return c, st
		}
	}
	return s.all[0], s.all[0].stapling(s.policy, asked)
}

// first is the first of a list that the client can be shown, nil for none.
func (s *selector) first(list []*certificate, probe *tls.ClientHelloInfo, asked bool) (*certificate, stapling) {
	for _, c := range list {
		st := c.stapling(s.policy, asked)
		if st != forbidden && probe.SupportsCertificate(c.plain) == nil {
			return c, st
		}
	}
	return nil, notAsked
}
