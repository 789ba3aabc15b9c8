package als

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

func formatOptions() format.Options { return format.Options{Getenv: getenv} }

func TestWhatIsWrongIsNamed(t *testing.T) {
	set := NewStreams(Options{})
	defer set.Close()
	for want, change := range map[string]func(*alsv3.CommonGrpcAccessLogConfig){
		"transport_api_version: AUTO":          func(c *alsv3.CommonGrpcAccessLogConfig) { c.TransportApiVersion = corev3.ApiVersion_AUTO },
		"grpc_service.envoy_grpc: is required": func(c *alsv3.CommonGrpcAccessLogConfig) { c.GrpcService = nil },
		"grpc_service.envoy_grpc.cluster_name": func(c *alsv3.CommonGrpcAccessLogConfig) { c.GrpcService.GetEnvoyGrpc().ClusterName = "" },
		"buffer_flush_interval: must be more":  func(c *alsv3.CommonGrpcAccessLogConfig) { c.BufferFlushInterval = durationpb.New(0) },
		"custom_tags[0].type: is required":     func(c *alsv3.CommonGrpcAccessLogConfig) { c.CustomTags = []*tracingv3.CustomTag{{Tag: "x"}} },
		"grpc_service.initial_metadata[0].key: \"grpc-": func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.GrpcService.InitialMetadata = []*corev3.HeaderValue{{Key: "grpc-x"}}
		},
		"grpc_service.initial_metadata[0].value: a value with % commands": func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.GrpcService.InitialMetadata = []*corev3.HeaderValue{{Key: "x", Value: "%x%"}}
		},
		"grpc_service.google_grpc: is not supported": func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.GrpcService.TargetSpecifier = &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{TargetUri: "x"}}
		},
		"custom_tags[0].value: ": func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.CustomTags = []*tracingv3.CustomTag{{Tag: "x", Type: &tracingv3.CustomTag_Value{Value: "%NOTHING%"}}}
		},
		"custom_tags[0].metadata.kind": func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.CustomTags = []*tracingv3.CustomTag{{Tag: "x", Type: &tracingv3.CustomTag_Metadata_{}}}
		},
	} {
		cfg := common("log")
		change(cfg)
		_, err := NewHTTP(set, formatOptions(), &alsv3.HttpGrpcAccessLogConfig{CommonConfig: cfg})
		if err == nil || !strings.HasPrefix(err.Error(), "common_config."+want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := NewTCP(nil, formatOptions(), &alsv3.TcpGrpcAccessLogConfig{CommonConfig: common("log")}); err == nil {
		t.Error("a log without a way to its service")
	}
}

func TestWhatAStreamIsTold(t *testing.T) {
	set := NewStreams(Options{})
	defer set.Close()
	backoff := func(d time.Duration) *corev3.RetryPolicy {
		return &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(d)}}
	}
	for i, c := range []struct {
		change      func(*alsv3.CommonGrpcAccessLogConfig)
		interval    time.Duration
		size        int
		first, most time.Duration
	}{
		{func(*alsv3.CommonGrpcAccessLogConfig) {}, time.Second, 16384, 500 * time.Millisecond, 30 * time.Second},
		{func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.BufferFlushInterval, c.BufferSizeBytes = durationpb.New(time.Minute), wrapperspb.UInt32(7)
			c.GrpcService.RetryPolicy = backoff(time.Minute)
		}, time.Minute, 7, time.Minute, 10 * time.Minute},
		{func(c *alsv3.CommonGrpcAccessLogConfig) {
			c.GrpcService.RetryPolicy, c.GrpcStreamRetryPolicy = backoff(time.Minute), backoff(time.Second)
			c.GrpcStreamRetryPolicy.RetryBackOff.MaxInterval = durationpb.New(3 * time.Second)
			c.BufferSizeBytes = wrapperspb.UInt32(1 << 31)
		}, time.Second, 1 << 20, time.Second, 3 * time.Second},
	} {
		cfg := common("log")
		c.change(cfg)
		w, err := NewTCP(set, formatOptions(), &alsv3.TcpGrpcAccessLogConfig{CommonConfig: cfg})
		if err != nil {
			t.Fatal(err)
		}
		s := w.(*tcpLog).stream
		if s.interval != c.interval || s.size != c.size || s.service.first != c.first || s.service.most != c.most {
			t.Errorf("%d: %+v", i, s.streamConfig)
		}
	}
}

func TestSupportListsEveryField(t *testing.T) {
	for _, err := range resource.VerifyComplete(Support()) {
		t.Error(err)
	}
}
