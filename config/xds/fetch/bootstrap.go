package fetch

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/resource"
)

// ReadBootstrap fills in what a bootstrap file says of the node and of the control plane behind dynamic_resources.ads_config: Node, Delta,
// Metadata, and, unless o.Server is set, Server, Authority and TLS. What else is in the file does not matter.
func (o *Options) ReadBootstrap(path string) error {
	b := &bootstrapv3.Bootstrap{}
	support := resource.Support{protoreflect.FullName("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"): resource.Fields{}}
	source, _, p := file.Message(file.Options{Path: path, Support: support}, b)
	if source == nil {
		return p.All()[0]
	}
	if o.Node == nil {
		o.Node = b.GetNode()
	}
	if err := o.fromADS(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (o *Options) fromADS(b *bootstrapv3.Bootstrap) error {
	ads := b.GetDynamicResources().GetAdsConfig()
	if ads == nil {
		if o.Server != "" {
			return nil
		}
		return errors.New("there is no dynamic_resources.ads_config; name the control plane with --server")
	}
	o.Delta = o.Delta || ads.GetApiType() == corev3.ApiConfigSource_DELTA_GRPC
	if len(ads.GetGrpcServices()) == 0 {
		return errors.New("dynamic_resources.ads_config.grpc_services is empty")
	}
	service := ads.GetGrpcServices()[0]
	for _, h := range service.GetInitialMetadata() {
		if o.Metadata == nil {
			o.Metadata = map[string]string{}
		}
		o.Metadata[h.GetKey()] = cmp.Or(h.GetValue(), string(h.GetRawValue()))
	}
	if o.Server != "" {
		return nil
	}
	if g := service.GetGoogleGrpc(); g != nil {
		return o.fromGoogle(g)
	}
	name := service.GetEnvoyGrpc().GetClusterName()
	o.Authority = cmp.Or(o.Authority, service.GetEnvoyGrpc().GetAuthority())
	for _, c := range b.GetStaticResources().GetClusters() {
		if c.GetName() == name {
			return o.fromCluster(c)
		}
	}
	return fmt.Errorf("dynamic_resources.ads_config names the cluster %q, which static_resources does not have", name)
}

func (o *Options) fromGoogle(g *corev3.GrpcService_GoogleGrpc) error {
	o.Server = g.GetTargetUri()
	ssl := g.GetChannelCredentials().GetSslCredentials()
	if ssl == nil || o.TLS != nil {
		return nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	var pair *pairSource
	if ssl.GetCertChain() != nil {
		pair = &pairSource{ssl.GetCertChain(), ssl.GetPrivateKey()}
	}
	return fillTLS(o.TLS, ssl.GetRootCerts(), pair)
}

// fromCluster takes the first host of a cluster.
func (o *Options) fromCluster(c *clusterv3.Cluster) error {
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			switch a := e.GetEndpoint().GetAddress(); {
			case o.Server != "":
			case a.GetPipe() != nil:
				o.Server = "unix:" + a.GetPipe().GetPath()
			case a.GetSocketAddress() != nil:
				s := a.GetSocketAddress()
				o.Server = net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
			}
		}
	}
	if o.Server == "" {
		return fmt.Errorf("the cluster %q of the control plane has no address in its load_assignment; name the control plane with --server", c.GetName())
	}
	o.Authority = cmp.Or(o.Authority, c.GetName())
	if c.GetTransportSocket().GetTypedConfig() == nil || o.TLS != nil {
		return nil
	}
	context, err := resource.Unpack[*tlsv3.UpstreamTlsContext](c.GetTransportSocket().GetTypedConfig())
	if err != nil {
		return fmt.Errorf("the transport socket of the cluster %q: %w; name the control plane with --server", c.GetName(), err)
	}
	if o.TLS, err = fromContext(context); err != nil {
		return fmt.Errorf("the transport socket of the cluster %q: %w", c.GetName(), err)
	}
	return nil
}

// fromContext returns what an UpstreamTlsContext says. As there, the server's certificate is checked only if it says against what, and its
// name is not: matchers of names are left aside here.
func fromContext(m *tlsv3.UpstreamTlsContext) (*tls.Config, error) {
	common := m.GetCommonTlsContext()
	if len(common.GetTlsCertificateSdsSecretConfigs()) > 0 || common.GetValidationContextSdsSecretConfig() != nil {
		return nil, errors.New("its certificates come from SDS; name the control plane and them with --server, --ca, --cert and --key")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.GetSni()}
	validation := common.GetValidationContext()
	if validation == nil {
		validation = common.GetCombinedValidationContext().GetDefaultValidationContext()
	}
	var pair *pairSource
	if all := common.GetTlsCertificates(); len(all) > 0 {
		pair = &pairSource{all[0].GetCertificateChain(), all[0].GetPrivateKey()}
	}
	if err := fillTLS(config, validation.GetTrustedCa(), pair); err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = true
	if roots := config.RootCAs; roots != nil {
		config.VerifyConnection = func(s tls.ConnectionState) error { return verify(s, roots) }
	}
	return config, nil
}

// verify checks the chain of a server's certificate, not its names.
func verify(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server shows no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// A pairSource is where a certificate and its key are.
type pairSource struct{ chain, key *corev3.DataSource }

func fillTLS(config *tls.Config, roots *corev3.DataSource, pair *pairSource) error {
	if roots != nil {
		pem, err := read(roots)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("there is no certificate among the trusted CAs")
		}
	}
	if pair == nil {
		return nil
	}
	chain, err := read(pair.chain)
	if err != nil {
		return err
	}
	key, err := read(pair.key)
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return err
	}
	config.Certificates = []tls.Certificate{certificate}
	return nil
}

func read(d *corev3.DataSource) ([]byte, error) {
	switch x := d.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		return os.ReadFile(x.Filename)
	case *corev3.DataSource_InlineBytes:
		return x.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(x.InlineString), nil
	case *corev3.DataSource_EnvironmentVariable:
		return []byte(os.Getenv(x.EnvironmentVariable)), nil
	}
	return nil, errors.New("a certificate or key is missing")
}
