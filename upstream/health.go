package upstream

// Health is the set of reasons why a host gets no traffic, or less. The empty set is healthy.
type Health uint32

// The reasons, in the order in which Envoy's /clusters prints them.
const (
	FailedActiveHC Health = 1 << iota
	FailedOutlierCheck
	FailedEDSHealth
	DegradedActiveHC
	DegradedEDSHealth
	PendingDynamicRemoval
	PendingActiveHC
	ExcludedViaImmediateHCFail
	ActiveHCTimeout
	EDSStatusDraining
	healthEnd
)

const (
	unhealthy = FailedActiveHC | FailedOutlierCheck | FailedEDSHealth | EDSStatusDraining
	degraded  = DegradedActiveHC | DegradedEDSHealth
	edsHealth = FailedEDSHealth | DegradedEDSHealth | EDSStatusDraining // what an endpoint's health_status says
)

// healthNames are the reasons as /clusters prints them. Immutable.
var healthNames = [...]string{"/failed_active_hc", "/failed_outlier_check", "/failed_eds_health", "/degraded_active_hc", "/degraded_eds_health",
	"/pending_dynamic_removal", "/pending_active_hc", "/excluded_via_immediate_hc_fail", "/active_hc_timeout", "/eds_status_draining"}

// String returns "healthy" or the reasons as /clusters prints them: "/failed_active_hc/active_hc_timeout".
func (h Health) String() string {
	if h == 0 {
		return "healthy"
	}
	s := ""
	for i, name := range healthNames {
		if h&(1<<i) != 0 {
			s += name
		}
	}
	return s
}

// Healthy reports whether a host in this state gets its full share.
func (h Health) Healthy() bool { return h&(unhealthy|degraded) == 0 }

// Degraded reports whether a host in this state gets traffic only where healthy ones cannot take it.
func (h Health) Degraded() bool { return h&unhealthy == 0 && h&degraded != 0 }
