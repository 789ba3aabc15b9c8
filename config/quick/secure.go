package quick

import (
	"errors"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TLS is what is said of TLS on the command line.
type TLS struct {
	Cert, Key string // files of the listener's certificate and its key; both or none
	ClientCA  string // file of the CAs that clients need a certificate of; empty: none is asked for
	CA        string // file of the CAs that targets' certificates are of; empty: the system's
	Insecure  bool   // targets' certificates are not validated
}

// check finds what does not fit together.
func (o *TLS) check(targets []target) error {
	secure := targets[0].secure
	switch {
	case o.Cert != "" && o.Key == "":
		return errors.New("--cert without --key: give the file of the certificate's private key")
	case o.Cert == "" && o.Key != "":
		return errors.New("--key without --cert: give the file of the certificate")
	case o.ClientCA != "" && o.Cert == "":
		return errors.New("--client-ca without --cert: clients show certificates only where the listener has one")
	case o.CA != "" && !secure:
		return errors.New("--ca: no target has TLS; use https://, grpcs:// or tls://")
	case o.Insecure && !secure:
		return errors.New("--insecure: no target has TLS; use https://, grpcs:// or tls://")
	case o.Insecure && o.CA != "":
		return errors.New("--insecure and --ca: validate with the CA, or do not validate")
	}
	return nil
}

// downstream is the listener's transport socket, nil without a certificate.
func (o *TLS) downstream(protocol string) (*corev3.TransportSocket, error) {
	if o.Cert == "" {
		return nil, nil
	}
	common := &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: file(o.Cert), PrivateKey: file(o.Key)}}}
	if protocol != "tcp" {
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	ctx := &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	if o.ClientCA != "" {
		ctx.RequireClientCertificate = wrapperspb.Bool(true)
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: file(o.ClientCA)},
		}
	}
	return transportSocket(ctx)
}

// upstream is the cluster's transport socket, nil where targets have no TLS. A host has to show a certificate for one of the targets' names.
func (o *TLS) upstream(targets []target) (*corev3.TransportSocket, error) {
	if !targets[0].secure {
		return nil, nil
	}
	// Without the maximum it would be TLS 1.2, which is the default towards hosts.
	ctx := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
	}}
	if hosts := hostsOf(targets); len(hosts) == 1 && targets[0].named() {
		ctx.Sni = hosts[0]
	} else {
		ctx.AutoHostSni = true
	}
	if !o.Insecure {
		ctx.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: o.validation(targets)}
	}
	return transportSocket(ctx)
}

func (o *TLS) validation(targets []target) *tlsv3.CertificateValidationContext {
	v := &tlsv3.CertificateValidationContext{}
	if o.CA != "" {
		v.TrustedCa = file(o.CA)
	} else {
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	}
	for _, host := range hostsOf(targets) {
		kind := tlsv3.SubjectAltNameMatcher_DNS
		if _, err := netip.ParseAddr(host); err == nil {
			kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		}
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}},
		})
	}
	return v
}

// hostsOf lists the names and addresses of targets, each once.
func hostsOf(targets []target) []string {
	var all []string
	for _, t := range targets {
		if !slices.Contains(all, t.host) {
			all = append(all, t.host)
		}
	}
	return all
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

func transportSocket(ctx proto.Message) (*corev3.TransportSocket, error) {
	packed, err := pack(ctx)
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed},
	}, nil
}
