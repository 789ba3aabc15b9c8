package als

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/format"
)

// The fields of a StreamAccessLogsMessage.
const (
	fieldIdentifier      = 1
	fieldHTTPLogs   byte = 2
	fieldTCPLogs    byte = 3
)

// NewHTTP compiles envoy.access_loggers.http_grpc. The service may be unknown yet: entries wait for it.
func NewHTTP(set *Streams, o format.Options, cfg *alsv3.HttpGrpcAccessLogConfig) (accesslog.Writer, error) {
	s, tags, err := compile(set, o, cfg.GetCommonConfig(), fieldHTTPLogs)
	if err != nil {
		return nil, fmt.Errorf("common_config.%w", err)
	}
	return &httpLog{
		stream: s, tags: tags, request: lower(cfg.GetAdditionalRequestHeadersToLog()),
		response: lower(cfg.GetAdditionalResponseHeadersToLog()), trailers: lower(cfg.GetAdditionalResponseTrailersToLog()),
	}, nil
}

// NewTCP compiles envoy.access_loggers.tcp_grpc.
func NewTCP(set *Streams, o format.Options, cfg *alsv3.TcpGrpcAccessLogConfig) (accesslog.Writer, error) {
	s, tags, err := compile(set, o, cfg.GetCommonConfig(), fieldTCPLogs)
	if err != nil {
		return nil, fmt.Errorf("common_config.%w", err)
	}
	return &tcpLog{stream: s, tags: tags}, nil
}

func lower(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, strings.ToLower(name))
	}
	return all
}

func compile(set *Streams, o format.Options, cfg *alsv3.CommonGrpcAccessLogConfig, entries byte) (*stream, []tag, error) {
	if set == nil {
		return nil, nil, errors.New("grpc_service: there is no way to connect to clusters")
	}
	if v := cfg.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
		return nil, nil, fmt.Errorf("transport_api_version: %v is not supported, set it to V3", v)
	}
	v, err := compileService(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("grpc_service.%w", err)
	}
	tags, err := compileTags(cfg.GetCustomTags(), o)
	if err != nil {
		return nil, nil, err
	}
	c := &streamConfig{service: v, entries: entries, interval: defaultInterval, size: defaultSize}
	if d := cfg.GetBufferFlushInterval(); d != nil {
		if c.interval = d.AsDuration(); c.interval <= 0 {
			return nil, nil, errors.New("buffer_flush_interval: must be more than 0")
		}
	}
	if n := cfg.GetBufferSizeBytes(); n != nil {
		c.size = int(min(n.GetValue(), maxSize))
	}
	if c.first, err = identifier(set.o.Node, cfg.GetLogName()); err != nil {
		return nil, nil, err
	}
	key, err := keyOf(cfg, entries)
	if err != nil {
		return nil, nil, err
	}
	return set.open(key, c), tags, nil
}

// keyOf is what two configurations share if their entries go to one stream.
func keyOf(cfg *alsv3.CommonGrpcAccessLogConfig, entries byte) (string, error) {
	same := proto.CloneOf(cfg)
	same.CustomTags = nil // they are the entry's
	key, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{entries}, same)
	return string(key), err
}

// identifier is how a stream begins: who says it, and which log it is.
func identifier(node *corev3.Node, name string) ([]byte, error) {
	who, err := proto.Marshal(node)
	if err != nil {
		return nil, err
	}
	b, at := begin(nil, fieldIdentifier)
	b, inner := begin(b, 1)
	b = end(append(b, who...), inner)
	return end(appendText(b, 2, name), at), nil
}

func compileService(cfg *alsv3.CommonGrpcAccessLogConfig) (service, error) {
	g := cfg.GetGrpcService()
	e := g.GetEnvoyGrpc()
	if e == nil {
		if g.GetGoogleGrpc() != nil {
			return service{}, errors.New("google_grpc: is not supported, use envoy_grpc")
		}
		return service{}, errors.New("envoy_grpc: is required")
	}
	v := service{cluster: e.GetClusterName(), authority: e.GetAuthority(), header: metadata.MD{}, first: retryFirst, most: retryMost}
	if v.cluster == "" {
		return v, errors.New("envoy_grpc.cluster_name: is empty")
	}
	if v.authority == "" {
		v.authority = v.cluster
	}
	for i, h := range g.GetInitialMetadata() {
		switch {
		case h.GetKey() == "" || strings.HasPrefix(h.GetKey(), ":") || strings.HasPrefix(strings.ToLower(h.GetKey()), "grpc-"):
			return v, fmt.Errorf("initial_metadata[%d].key: %q is not a name for metadata", i, h.GetKey())
		case strings.Contains(h.GetValue(), "%"):
			return v, fmt.Errorf("initial_metadata[%d].value: a value with %% commands is not supported, give the text itself", i)
		}
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		v.header.Append(h.GetKey(), value)
	}
	for _, p := range []*corev3.RetryPolicy{cfg.GetGrpcStreamRetryPolicy(), e.GetRetryPolicy(), g.GetRetryPolicy()} {
		if s := p.GetRetryBackOff(); s != nil {
			v.first = max(s.GetBaseInterval().AsDuration(), minRetry)
			v.most = 10 * v.first
			if s.GetMaxInterval() != nil {
				v.most = max(s.GetMaxInterval().AsDuration(), v.first)
			}
			break
		}
	}
	return v, nil
}
