package rbac

import (
	"errors"
	"fmt"
	"strings"

	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/match"
)

// identity asks who the peer is. Without TLS it is known to be nobody.
func (r *rule) identity(t *conn.TLS) verdict {
	switch {
	case t == nil:
		return no
	case r.kind == validated:
		return verdictOf(t.Verified && t.Peer != nil && r.san.match(t.Peer.Facts()))
	case r.text == nil:
		return yes // whoever the TLS configuration lets in
	}
	f := t.Peer.Facts()
	for _, name := range f.URISANs {
		if r.text.Match(name) {
			return yes
		}
	}
	for _, name := range f.DNSSANs {
		if r.text.Match(name) {
			return yes
		}
	}
	return verdictOf(r.text.Match(f.Subject))
}

// A san is a compiled SubjectAltNameMatcher.
type san struct {
	kind tlsv3.SubjectAltNameMatcher_SanType
	text match.String
	host string // DNS with an exact matcher: the name to be covered, lower case; "" otherwise
}

func newSAN(cfg *tlsv3.SubjectAltNameMatcher) (*san, error) {
	s := &san{kind: cfg.GetSanType()}
	switch s.kind {
	case tlsv3.SubjectAltNameMatcher_EMAIL, tlsv3.SubjectAltNameMatcher_URI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
	case tlsv3.SubjectAltNameMatcher_DNS:
		if exact, ok := cfg.GetMatcher().GetMatchPattern().(*matcherv3.StringMatcher_Exact); ok {
			s.host = strings.ToLower(exact.Exact)
		}
	default:
		return nil, fmt.Errorf("san_type: %s is not supported", s.kind)
	}
	var err error
	if s.text, err = match.NewString(cfg.GetMatcher()); err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	return s, nil
}

// match reports whether a certificate has a name that matches. A nil matcher takes any.
func (s *san) match(f *conn.CertificateFacts) bool {
	if s == nil {
		return true
	}
	names := f.URISANs
	switch s.kind {
	case tlsv3.SubjectAltNameMatcher_EMAIL:
		names = f.EmailSANs
	case tlsv3.SubjectAltNameMatcher_DNS:
		names = f.DNSSANs
	case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
		names = f.IPSANs
	}
	for _, name := range names {
		if s.host != "" && covers(name, s.host) || s.host == "" && s.text.Match(name) {
			return true
		}
	}
	return false
}

// covers reports whether a name in a certificate, which may begin with the label "*", stands for host (RFC 6125 section 6.4.3).
func covers(name, host string) bool {
	if match.EqualFold(name, host) {
		return true
	}
	domain, wild := strings.CutPrefix(name, "*.")
	label, rest, ok := strings.Cut(host, ".")
	return wild && ok && label != "" && match.EqualFold(domain, rest)
}

// mtls compiles the extension envoy.rbac.principals.mtls_authenticated.
func mtls(cfg *mtlsv3.Config) (rule, error) {
	r := rule{kind: validated}
	if cfg.GetSanMatcher() == nil {
		if !cfg.GetAnyValidatedClientCertificate() {
			return r, errors.New("san_matcher or any_validated_client_certificate must be set")
		}
		return r, nil
	}
	var err error
	if r.san, err = newSAN(cfg.GetSanMatcher()); err != nil {
		return r, fmt.Errorf("san_matcher.%w", err)
	}
	return r, nil
}
