// Package grpcstats is the HTTP filter envoy.filters.http.grpc_stats: it counts gRPC calls and their messages below the cluster that they
// go to, by method where the configuration says so.
package grpcstats

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/grpc/calls"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// Extension is the HTTP filter.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.grpc_stats", Config: &statsv3.FilterConfig{},
		New: func(_ *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return New(cfg.(*statsv3.FilterConfig)), nil
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	return resource.Support{
		"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": resource.
			Names("emit_filter_state individual_method_stats_allowlist enable_upstream_stats replace_dots_in_grpc_service_name").
			YesBut("stats_for_all_methods", "at most 1024 methods of a cluster have series of their own; others are counted without their names"),
		"envoy.config.core.v3.GrpcMethodList":         resource.Names("services"),
		"envoy.config.core.v3.GrpcMethodList.Service": resource.Names("name method_names"),
	}
}

// A Filter is the filter at work. Safe for concurrent use.
type Filter struct {
	calls *calls.Table
	state bool // emit_filter_state
	time  bool // enable_upstream_stats
}

// New compiles the filter.
func New(cfg *statsv3.FilterConfig) *Filter {
	return &Filter{
		calls: calls.NewTable(calls.Options{
			Protocol: "grpc", All: cfg.GetStatsForAllMethods().GetValue(), ReplaceDots: cfg.GetReplaceDotsInGrpcServiceName(),
			Allowed: allowed(cfg.GetIndividualMethodStatsAllowlist()),
		}),
		state: cfg.GetEmitFilterState(), time: cfg.GetEnableUpstreamStats(),
	}
}

func allowed(list *corev3.GrpcMethodList) map[calls.Method]bool {
	methods := map[calls.Method]bool{}
	for _, s := range list.GetServices() {
		for _, name := range s.GetMethodNames() {
			methods[calls.Method{Service: s.GetName(), Name: name}] = true
		}
	}
	return methods
}

// Handle counts a gRPC call on its way there and back.
func (f *Filter) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	if !grpc.IsRequest(&x.Request.Header) {
		return next.Handle(ctx, x)
	}
	c := &call{f: f, x: x, stats: f.calls.Find(x)}
	if x.Request.Length != 0 {
		c.in = requestBody{Body: x.Request.Body, stats: c.stats}
		x.Request.Body = &c.in
	}
	resp, err := next.Handle(ctx, x)
	if err != nil {
		return nil, err
	}
	status := resp.Header.Known(message.GRPCStatus)
	if resp.Local != nil {
		if status == "" {
			status = grpc.FromHTTP(resp.Status).Number() // what the downstream will be told
		}
		c.stats.Charge(status)
		c.emit()
		return resp, nil
	}
	c.stats.Charge(status)
	empty := resp.Length == 0
	c.out = responseBody{Body: resp.Body, call: c, counts: grpc.IsResponse(resp.Status, &resp.Header, empty), empty: empty}
	resp.Body = &c.out
	return resp, nil
}
