package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// How a control plane that hangs is noticed.
const (
	pingAfter   = 5 * time.Minute // nothing has come for this long; gRPC servers end a connection on which pings come more often
	pingTimeout = 10 * time.Second
)

// A link is the connection to one control plane, which all streams of a source share. Safe for concurrent use.
type link struct {
	service *corev3.GrpcService
	dial    func(ctx context.Context, cluster string) (net.Conn, error)
	most    int // bytes of a message
	header  metadata.MD

	mu   sync.Mutex
	conn *grpc.ClientConn // nil: none; guarded by mu
}

func newLink(a *corev3.ApiConfigSource, o *Options) *link {
	g := &corev3.GrpcService{}
	for _, first := range a.GetGrpcServices()[:min(1, len(a.GetGrpcServices()))] {
		g = first
	}
	k := &link{service: g, dial: o.Dial, most: o.MaxReceive, header: metadata.MD{}}
	if m := g.GetEnvoyGrpc().GetMaxReceiveMessageLength(); m != nil {
		k.most = min(k.most, int(m.GetValue()))
	}
	for _, h := range g.GetInitialMetadata() {
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		k.header.Append(h.GetKey(), value)
	}
	return k
}

// stream opens a stream, on a new connection if there is none.
func (k *link) stream(ctx context.Context, method string) (grpc.ClientStream, error) {
	k.mu.Lock()
	if k.conn == nil {
		conn, err := k.connect()
		if err != nil {
			k.mu.Unlock()
			return nil, err
		}
		k.conn = conn
	}
	conn := k.conn
	k.mu.Unlock()
	s, err := conn.NewStream(metadata.NewOutgoingContext(ctx, k.header), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		k.drop(conn)
		return nil, err
	}
	return s, nil
}

// check ends the connection unless it works, so that the next stream begins a new one.
func (k *link) check() {
	k.mu.Lock()
	conn := k.conn
	k.mu.Unlock()
	if conn != nil {
		k.drop(conn)
	}
}

func (k *link) drop(conn *grpc.ClientConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := conn.GetState(); k.conn == conn && s != connectivity.Ready && s != connectivity.Connecting {
		k.conn = nil
		_ = conn.Close() // ends what runs on it
	}
}

func (k *link) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		_ = k.conn.Close() // ends what runs on it
		k.conn = nil
	}
}

// connect returns a client that connects when it is used.
func (k *link) connect() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(k.most)), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), grpc.WithUserAgent("weft"), grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
	}
	if e := k.service.GetEnvoyGrpc(); e != nil {
		if k.dial == nil {
			return nil, errors.New("there is no way to connect to clusters")
		}
		authority := e.GetAuthority()
		if authority == "" {
			authority = e.GetClusterName()
		}
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return k.dial(ctx, e.GetClusterName()) }))
		return grpc.NewClient("passthrough:///"+e.GetClusterName(), options...)
	}
	g := k.service.GetGoogleGrpc()
	if g == nil {
		return nil, errors.New("the source names no gRPC service")
	}
	creds, err := credentialsOf(g)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(g.GetTargetUri(), append(options, grpc.WithTransportCredentials(creds))...)
}

// credentialsOf returns what a google_grpc service is connected to with: files are read anew for each connection.
func credentialsOf(g *corev3.GrpcService_GoogleGrpc) (credentials.TransportCredentials, error) {
	ssl := g.GetChannelCredentials().GetSslCredentials()
	if ssl == nil {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	read := func(name string, d *corev3.DataSource) ([]byte, error) {
		b, err := readData(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return b, nil
	}
	if ssl.GetRootCerts() != nil {
		b, err := read("root_certs", ssl.GetRootCerts())
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b) {
			return nil, errors.New("root_certs: no certificate in it")
		}
	}
	if ssl.GetCertChain() != nil || ssl.GetPrivateKey() != nil {
		chain, err := read("cert_chain", ssl.GetCertChain())
		if err != nil {
			return nil, err
		}
		key, err := read("private_key", ssl.GetPrivateKey())
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("cert_chain: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

// readData returns what a DataSource says, at most 1 MiB of it.
func readData(d *corev3.DataSource) ([]byte, error) {
	switch x := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineBytes:
		return x.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(x.InlineString), nil
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(x.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("environment variable %q is not set", x.EnvironmentVariable)
		}
		return []byte(v), nil
	case *corev3.DataSource_Filename:
		f, err := os.Open(x.Filename)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, 1<<20))
	default:
		return nil, errors.New("missing")
	}
}
