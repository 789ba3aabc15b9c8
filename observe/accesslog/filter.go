package accesslog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

// Runtime looks up Envoy's runtime overrides.
type Runtime interface {
	Lookup(key string) (string, bool)
}

// CompileFilter compiles a filter; nil gives nil, which lets everything through. Errors begin with the field they are about.
func CompileFilter(cfg *accesslogv3.AccessLogFilter, rt Runtime) (Filter, error) {
	if cfg == nil {
		return nil, nil
	}
	switch f := cfg.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		return statusFilter{newComparison(f.StatusCodeFilter.GetComparison(), rt)}, nil
	case *accesslogv3.AccessLogFilter_DurationFilter:
		return durationFilter{newComparison(f.DurationFilter.GetComparison(), rt)}, nil
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return notHealthCheck{}, nil
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		return newSample(f.RuntimeFilter, rt), nil
	case *accesslogv3.AccessLogFilter_AndFilter:
		all, err := compileFilters("and_filter", f.AndFilter.GetFilters(), rt)
		return andFilter(all), err
	case *accesslogv3.AccessLogFilter_OrFilter:
		all, err := compileFilters("or_filter", f.OrFilter.GetFilters(), rt)
		return orFilter(all), err
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		return newHeaderFilter(f.HeaderFilter)
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		return newFlagFilter(f.ResponseFlagFilter)
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		return newGRPCFilter(f.GrpcStatusFilter), nil
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		return newMetadataFilter(f.MetadataFilter)
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		return newTypeFilter(f.LogTypeFilter), nil
	case nil:
		return nil, errors.New("a filter is required")
	}
	return nil, fmt.Errorf("%T is not supported", cfg.GetFilterSpecifier())
}

func compileFilters(field string, cfgs []*accesslogv3.AccessLogFilter, rt Runtime) ([]Filter, error) {
	all := make([]Filter, 0, len(cfgs))
	for i, c := range cfgs {
		f, err := CompileFilter(c, rt)
		if err != nil {
			return nil, fmt.Errorf("%s.filters[%d]: %w", field, i, err)
		}
		all = append(all, f)
	}
	return all, nil
}

type andFilter []Filter

func (a andFilter) Match(e *observe.Entry) bool {
	for _, f := range a {
		if !f.Match(e) {
			return false
		}
	}
	return true
}

type orFilter []Filter

func (o orFilter) Match(e *observe.Entry) bool {
	for _, f := range o {
		if f.Match(e) {
			return true
		}
	}
	return false
}

// A comparison compares with a number that the runtime may override.
type comparison struct {
	op    accesslogv3.ComparisonFilter_Op
	value uint64
	key   string
	rt    Runtime
}

func newComparison(cfg *accesslogv3.ComparisonFilter, rt Runtime) comparison {
	return comparison{cfg.GetOp(), uint64(cfg.GetValue().GetDefaultValue()), cfg.GetValue().GetRuntimeKey(), rt}
}

func (c *comparison) holds(v uint64) bool {
	limit := overridden(c.rt, c.key, c.value)
	switch c.op {
	case accesslogv3.ComparisonFilter_GE:
		return v >= limit
	case accesslogv3.ComparisonFilter_LE:
		return v <= limit
	case accesslogv3.ComparisonFilter_NE:
		return v != limit
	}
	return v == limit
}

// overridden returns the runtime's integer for the key, value when it has none.
func overridden(rt Runtime, key string, value uint64) uint64 {
	if key == "" || rt == nil {
		return value
	}
	if s, ok := rt.Lookup(key); ok {
		if n, ok := match.ParseUint(s); ok {
			return n
		}
	}
	return value
}

type statusFilter struct{ comparison }

func (f statusFilter) Match(e *observe.Entry) bool { return f.holds(uint64(e.Record.Status)) }

type durationFilter struct{ comparison }

func (f durationFilter) Match(e *observe.Entry) bool {
	end := e.Record.Done
	if end == 0 {
		end = scope.Now()
	}
	return f.holds(uint64((end - e.Record.Start) / int64(time.Millisecond)))
}

type notHealthCheck struct{}

func (notHealthCheck) Match(e *observe.Entry) bool { return !e.Record.HealthCheck }

// A sample lets a part of the entries through: the same ones in every proxy on the way, because the request identifier decides.
type sample struct {
	key         string
	numerator   uint64
	denominator uint64
	independent bool
	rt          Runtime
}

func newSample(cfg *accesslogv3.RuntimeFilter, rt Runtime) *sample {
	s := &sample{key: cfg.GetRuntimeKey(), numerator: uint64(cfg.GetPercentSampled().GetNumerator()), denominator: 100,
		independent: cfg.GetUseIndependentRandomness(), rt: rt}
	switch cfg.GetPercentSampled().GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		s.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		s.denominator = 1_000_000
	}
	return s
}

// Match implements Filter.
func (s *sample) Match(e *observe.Entry) bool {
	random, ok := idNumber(e.Record.RequestID)
	if !ok || s.independent {
		random = rand.Uint64()
	}
	return random%s.denominator < min(overridden(s.rt, s.key, s.numerator), s.denominator)
}

// idNumber is the number that the first eight digits of a UUID are.
func idNumber(id string) (uint64, bool) {
	if len(id) < 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(id[:8], 16, 64)
	return n, err == nil
}

// flagFilter lets entries with one of the flags through, those with any flag when it names none.
type flagFilter observe.Flag

func newFlagFilter(cfg *accesslogv3.ResponseFlagFilter) (Filter, error) {
	var set observe.Flag
	for i, name := range cfg.GetFlags() {
		flag := observe.ParseFlag(name)
		if flag == 0 {
			return nil, fmt.Errorf("response_flag_filter.flags[%d]: %q is no response flag", i, name)
		}
		set |= flag
	}
	return flagFilter(set), nil
}

// Match implements Filter.
func (f flagFilter) Match(e *observe.Entry) bool {
	if f == 0 {
		return e.Record.Flags != 0
	}
	return e.Record.Flags&observe.Flag(f) != 0
}

// grpcFilter lets entries with (or without) one of the statuses through.
type grpcFilter struct {
	statuses uint64 // bit n: status n
	exclude  bool
}

func newGRPCFilter(cfg *accesslogv3.GrpcStatusFilter) Filter {
	f := grpcFilter{exclude: cfg.GetExclude()}
	for _, s := range cfg.GetStatuses() {
		f.statuses |= 1 << uint(s)
	}
	return f
}

// Match implements Filter.
func (f grpcFilter) Match(e *observe.Entry) bool {
	status, ok := format.AnyGRPCStatus(e)
	if !ok || status > 63 {
		status = 2 // unknown
	}
	return f.statuses&(1<<status) != 0 != f.exclude
}

// typeFilter lets entries of (or not of) some types through.
type typeFilter struct {
	types   uint64 // bit n: type n
	exclude bool
}

func newTypeFilter(cfg *accesslogv3.LogTypeFilter) Filter {
	f := typeFilter{exclude: cfg.GetExclude()}
	for _, t := range cfg.GetTypes() {
		f.types |= 1 << uint(t)
	}
	return f
}

// Match implements Filter.
func (f typeFilter) Match(e *observe.Entry) bool { return f.types&(1<<e.Type) != 0 != f.exclude }
