package admin

import (
	"bufio"
	"net/http"
	"strconv"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A Cluster is what /clusters shows of a cluster.
type Cluster struct {
	Name              string
	ObservabilityName string // alt_stat_name; "": Name
	EDSServiceName    string
	AddedViaAPI       bool
	Default, High     Thresholds // of the circuit breakers
	Outlier           *Outlier   // nil: no outlier detection
	Hosts             []Host     // by priority
}

// Thresholds are the limits of a circuit breaker.
type Thresholds struct {
	Connections, PendingRequests, Requests, Retries uint32
}

// Outlier is what outlier detection found in its last interval; -1 where there was too little traffic.
type Outlier struct {
	SuccessRateAverage, SuccessRateEjectionThreshold float64
	LocalOriginAverage, LocalOriginEjectionThreshold float64
}

// A Host is what /clusters shows of a host.
type Host struct {
	Address  string // ip:port, or the path of a unix socket
	Hostname string
	Stats    HostStats
	Health   HostHealth
	Weight   uint32
	Priority uint32
	Canary   bool

	Region, Zone, SubZone string

	Outlier *HostRates // nil: no outlier detection
}

// HostStats are a host's own counters and gauges.
type HostStats struct {
	CxConnectFail, CxTotal, RqError, RqSuccess, RqTimeout, RqTotal uint64
	CxActive, RqActive                                             uint64
}

// HostRates are the share of successes in percent; -1 where there was too little traffic.
type HostRates struct{ Success, LocalOrigin float64 }

// HostHealth is a set of reasons why a host is not healthy.
type HostHealth uint16

// The reasons, in Envoy's order.
const (
	FailedActiveHC HostHealth = 1 << iota
	FailedOutlierCheck
	FailedEDSHealth
	DegradedActiveHC
	DegradedEDSHealth
	PendingDynamicRemoval
	PendingActiveHC
	ExcludedViaImmediateHCFail
	ActiveHCTimeout
	EDSStatusDraining
)

// String is the set as health_flags shows it: "healthy", or "/failed_active_hc/active_hc_timeout".
func (h HostHealth) String() string {
	if h == 0 {
		return "healthy"
	}
	out := ""
	for i, name := range [...]string{
		"failed_active_hc", "failed_outlier_check", "failed_eds_health", "degraded_active_hc", "degraded_eds_health",
		"pending_dynamic_removal", "pending_active_hc", "excluded_via_immediate_hc_fail", "active_hc_timeout", "eds_status_draining",
	} {
		if h&(1<<i) != 0 {
			out += "/" + name
		}
	}
	return out
}

func (s *Server) clusters(c *call) {
	format := c.get("format")
	if format != "" && format != "text" && format != "json" {
		c.text(http.StatusBadRequest, "invalid format: text or json")
		return
	}
	re, ok := filter(c)
	if !ok {
		return
	}
	var chosen []Cluster
	if s.state.Clusters != nil {
		chosen = s.state.Clusters()
	}
	if re != nil {
		all := chosen
		chosen = nil
		for i := range all {
			if re.MatchString(all[i].Name) {
				chosen = append(chosen, all[i])
			}
		}
	}
	if format == "json" {
		c.proto(clustersMessage(chosen), false)
		return
	}
	c.head(http.StatusOK, "text/plain; charset=UTF-8")
	out := bufio.NewWriterSize(c.w, 64<<10)
	w := clusterWriter{out: out}
	for i := range chosen {
		if w.cluster(&chosen[i]); w.err != nil {
			return
		}
	}
	_ = out.Flush()
}

// A clusterWriter writes Envoy's lines: name::key::value and name::host::key::value.
type clusterWriter struct {
	out    *bufio.Writer
	prefix string
	err    error
}

func (w *clusterWriter) line(key, value string) {
	for _, s := range [...]string{w.prefix, key, "::", value, "\n"} {
		if _, err := w.out.WriteString(s); err != nil {
			w.err = err
		}
	}
}

func (w *clusterWriter) number(key string, n uint64) { w.line(key, strconv.FormatUint(n, 10)) }
func (w *clusterWriter) truth(key string, b bool)    { w.line(key, strconv.FormatBool(b)) }
func (w *clusterWriter) rate(key string, rate float64) {
	w.line(key, strconv.FormatFloat(rate, 'g', -1, 64))
}
func (w *clusterWriter) average(key string, v float64) {
	w.line(key, strconv.FormatFloat(v, 'g', 6, 64))
}

func (w *clusterWriter) cluster(c *Cluster) {
	w.prefix = clean(c.Name) + "::"
	w.line("observability_name", clean(c.observabilityName()))
	if o := c.Outlier; o != nil {
		w.average("outlier::success_rate_average", o.SuccessRateAverage)
		w.average("outlier::success_rate_ejection_threshold", o.SuccessRateEjectionThreshold)
		w.average("outlier::local_origin_success_rate_average", o.LocalOriginAverage)
		w.average("outlier::local_origin_success_rate_ejection_threshold", o.LocalOriginEjectionThreshold)
	}
	w.thresholds("default_priority::", &c.Default)
	w.thresholds("high_priority::", &c.High)
	w.truth("added_via_api", c.AddedViaAPI)
	if c.EDSServiceName != "" {
		w.line("eds_service_name", clean(c.EDSServiceName))
	}
	cluster := w.prefix
	for i := range c.Hosts {
		w.prefix = cluster + clean(c.Hosts[i].Address) + "::"
		w.host(&c.Hosts[i])
	}
}

func (c *Cluster) observabilityName() string {
	if c.ObservabilityName != "" {
		return c.ObservabilityName
	}
	return c.Name
}

func (w *clusterWriter) thresholds(priority string, t *Thresholds) {
	w.number(priority+"max_connections", uint64(t.Connections))
	w.number(priority+"max_pending_requests", uint64(t.PendingRequests))
	w.number(priority+"max_requests", uint64(t.Requests))
	w.number(priority+"max_retries", uint64(t.Retries))
}

func (w *clusterWriter) host(h *Host) {
	s := &h.Stats
	w.number("cx_active", s.CxActive)
	w.number("cx_connect_fail", s.CxConnectFail)
	w.number("cx_total", s.CxTotal)
	w.number("rq_active", s.RqActive)
	w.number("rq_error", s.RqError)
	w.number("rq_success", s.RqSuccess)
	w.number("rq_timeout", s.RqTimeout)
	w.number("rq_total", s.RqTotal)
	w.line("hostname", clean(h.Hostname))
	w.line("health_flags", h.Health.String())
	w.number("weight", uint64(h.Weight))
	w.line("region", clean(h.Region))
	w.line("zone", clean(h.Zone))
	w.line("sub_zone", clean(h.SubZone))
	w.truth("canary", h.Canary)
	w.number("priority", uint64(h.Priority))
	rates := HostRates{Success: -1, LocalOrigin: -1}
	if h.Outlier != nil {
		rates = *h.Outlier
	}
	w.rate("success_rate", rates.Success)
	w.rate("local_origin_success_rate", rates.LocalOrigin)
}

func clustersMessage(all []Cluster) *adminv3.Clusters {
	out := &adminv3.Clusters{}
	for i := range all {
		c := &all[i]
		status := &adminv3.ClusterStatus{
			Name: c.Name, AddedViaApi: c.AddedViaAPI, ObservabilityName: c.observabilityName(), EdsServiceName: c.EDSServiceName,
			CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
				c.Default.message(corev3.RoutingPriority_DEFAULT), c.High.message(corev3.RoutingPriority_HIGH),
			}},
		}
		if o := c.Outlier; o != nil {
			status.SuccessRateEjectionThreshold = positive(o.SuccessRateEjectionThreshold)
			status.LocalOriginSuccessRateEjectionThreshold = positive(o.LocalOriginEjectionThreshold)
		}
		for j := range c.Hosts {
			status.HostStatuses = append(status.HostStatuses, c.Hosts[j].message())
		}
		out.ClusterStatuses = append(out.ClusterStatuses, status)
	}
	return out
}

func positive(v float64) *typev3.Percent {
	if v <= 0 {
		return nil
	}
	return &typev3.Percent{Value: v}
}

func (t *Thresholds) message(p corev3.RoutingPriority) *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		Priority: p, MaxConnections: wrapperspb.UInt32(t.Connections), MaxPendingRequests: wrapperspb.UInt32(t.PendingRequests),
		MaxRequests: wrapperspb.UInt32(t.Requests), MaxRetries: wrapperspb.UInt32(t.Retries),
	}
}

func (h *Host) message() *adminv3.HostStatus {
	out := &adminv3.HostStatus{
		Address: address(h.Address), Stats: h.Stats.message(), HealthStatus: h.Health.message(), Weight: h.Weight, Hostname: h.Hostname,
		Priority: h.Priority, Locality: &corev3.Locality{Region: h.Region, Zone: h.Zone, SubZone: h.SubZone},
	}
	if o := h.Outlier; o != nil && o.Success >= 0 {
		out.SuccessRate = &typev3.Percent{Value: o.Success}
	}
	if o := h.Outlier; o != nil && o.LocalOrigin >= 0 {
		out.LocalOriginSuccessRate = &typev3.Percent{Value: o.LocalOrigin}
	}
	return out
}

func (s *HostStats) message() []*adminv3.SimpleMetric {
	metric := func(kind adminv3.SimpleMetric_Type, name string, n uint64) *adminv3.SimpleMetric {
		return &adminv3.SimpleMetric{Type: kind, Name: name, Value: n}
	}
	const counter, gauge = adminv3.SimpleMetric_COUNTER, adminv3.SimpleMetric_GAUGE
	return []*adminv3.SimpleMetric{
		metric(counter, "cx_connect_fail", s.CxConnectFail), metric(counter, "cx_total", s.CxTotal),
		metric(counter, "rq_error", s.RqError), metric(counter, "rq_success", s.RqSuccess),
		metric(counter, "rq_timeout", s.RqTimeout), metric(counter, "rq_total", s.RqTotal),
		metric(gauge, "cx_active", s.CxActive), metric(gauge, "rq_active", s.RqActive),
	}
}

func (h HostHealth) message() *adminv3.HostHealthStatus {
	eds := corev3.HealthStatus_HEALTHY
	switch {
	case h&FailedEDSHealth != 0:
		eds = corev3.HealthStatus_UNHEALTHY
	case h&DegradedEDSHealth != 0:
		eds = corev3.HealthStatus_DEGRADED
	case h&EDSStatusDraining != 0:
		eds = corev3.HealthStatus_DRAINING
	}
	return &adminv3.HostHealthStatus{
		FailedActiveHealthCheck: h&FailedActiveHC != 0, FailedOutlierCheck: h&FailedOutlierCheck != 0,
		FailedActiveDegradedCheck: h&DegradedActiveHC != 0, PendingDynamicRemoval: h&PendingDynamicRemoval != 0,
		PendingActiveHc: h&PendingActiveHC != 0, ExcludedViaImmediateHcFail: h&ExcludedViaImmediateHCFail != 0,
		ActiveHcTimeout: h&ActiveHCTimeout != 0, EdsHealthStatus: eds,
	}
}
