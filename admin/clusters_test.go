package admin

import (
	"net/http"
	"strings"
	"testing"
)

func someClusters() []Cluster {
	limits := Thresholds{Connections: 1024, PendingRequests: 1024, Requests: 1024, Retries: 3}
	return []Cluster{
		{
			Name: "web", ObservabilityName: "web_alt", Default: limits, High: Thresholds{Connections: 7, PendingRequests: 8, Requests: 9, Retries: 10},
			Hosts: []Host{
				{
					Address: "127.0.0.1:8080", Hostname: "web.example", Weight: 1, Region: "eu", Zone: "a", SubZone: "r1", Canary: true,
					Stats:  HostStats{CxConnectFail: 1, CxTotal: 2, RqError: 3, RqSuccess: 4, RqTimeout: 5, RqTotal: 6, CxActive: 7, RqActive: 8},
					Health: FailedActiveHC | ActiveHCTimeout,
				},
				{Address: "[2001:db8::1]:80", Weight: 2, Priority: 1, Outlier: &HostRates{Success: 99.5, LocalOrigin: 100}},
			},
		},
		{
			Name: "api", Default: limits, High: limits, AddedViaAPI: true, EDSServiceName: "api-eds",
			Outlier: &Outlier{SuccessRateAverage: 98.123456789, SuccessRateEjectionThreshold: 90, LocalOriginAverage: -1, LocalOriginEjectionThreshold: -1},
			Hosts:   []Host{{Address: "/run/api.sock", Weight: 1, Health: FailedEDSHealth}},
		},
	}
}

func TestClusters(t *testing.T) {
	s := State{Clusters: someClusters}
	_, body := get(t, s, "/clusters")
	golden(t, "clusters", body)
	if _, again := get(t, s, "/clusters?format=text"); again != body {
		t.Error("format=text differs")
	}
	resp := do(t, s, http.MethodGet, "/clusters?format=json", "")
	if resp.Header.Get("Content-Type") != "application/json" {
		t.Error(resp.Header)
	}
	_, body = readAll(t, resp)
	golden(t, "clusters_json", body)
}

func TestClustersFilter(t *testing.T) {
	s := State{Clusters: someClusters}
	for filter, want := range map[string]string{"we": "web", "^api$": "api", "w.+b": "web", "none": ""} {
		_, body := get(t, s, "/clusters?filter="+filter)
		if got := strings.Contains(body, "web::observability_name"); got != (want == "web") {
			t.Errorf("filter %s shows web: %v", filter, got)
		}
		if got := strings.Contains(body, "api::observability_name"); got != (want == "api") {
			t.Errorf("filter %s shows api: %v", filter, got)
		}
	}
	for _, target := range []string{"/clusters?filter=(", "/clusters?format=xml"} {
		if code, _ := get(t, s, target); code != http.StatusBadRequest {
			t.Errorf("%s: %d", target, code)
		}
	}
}

func TestHostHealthIsPrintedInEnvoysOrder(t *testing.T) {
	for h, want := range map[HostHealth]string{
		0:                                   "healthy",
		EDSStatusDraining | FailedActiveHC:  "/failed_active_hc/eds_status_draining",
		PendingActiveHC | DegradedEDSHealth: "/degraded_eds_health/pending_active_hc",
	} {
		if got := h.String(); got != want {
			t.Errorf("%b: %q, want %q", h, got, want)
		}
	}
}
