//go:build linux

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftproxy/weft/test/kit"
)

func smallFleet(delta bool) *fleet {
	return &fleet{services: 21, each: 3, tables: 2, delta: delta, port: 80, listen: []string{"127.0.0.1:20001", "127.0.0.1:20002"}}
}

func TestEveryServiceIsInOneTable(t *testing.T) {
	f, seen := smallFleet(true), 0
	for table := range f.tables {
		cfg := f.table(table)
		for _, h := range cfg.GetVirtualHosts() {
			if h.GetName() != nameOfService(seen) || f.tableOf(seen) != table {
				t.Errorf("%s has %s, want service %d, whose table is %d", cfg.GetName(), h.GetName(), seen, f.tableOf(seen))
			}
			seen++
		}
	}
	if seen != f.services {
		t.Errorf("%d services, want %d", seen, f.services)
	}
	addresses := map[string]bool{}
	for i := range f.services {
		for _, e := range f.assignment(i, 0).GetEndpoints()[0].GetLbEndpoints() {
			addresses[e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()] = true
		}
	}
	if len(addresses) != f.services*f.each {
		t.Errorf("%d endpoints differ, want %d", len(addresses), f.services*f.each)
	}
}

// client connects to a plane that serves f.
func client(t *testing.T, f *fleet) (context.Context, *plane, discoveryv3.AggregatedDiscoveryServiceClient) {
	t.Helper()
	p, err := startPlane(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx, p, discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
}

func TestAPlaneSendsWhatHasChanged(t *testing.T) {
	f := smallFleet(true)
	ctx, p, c := client(t, f)
	s, err := c.DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say := func(q *discoveryv3.DeltaDiscoveryRequest) {
		t.Helper()
		q.TypeUrl = kit.EndpointURL
		if err := s.Send(q); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want ...string) *discoveryv3.DeltaDiscoveryResponse {
		t.Helper()
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, x := range r.GetResources() {
			got[x.GetName()] = true
		}
		for _, name := range want {
			if !got[name] || len(got) != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
		return r
	}
	say(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"svc0", "svc20"}})
	r := hear("svc0", "svc20")
	say(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce()})
	version := p.set("svc20", f.assignment(20, 1))
	r = hear("svc20")
	p.set("svc7", f.assignment(7, 1)) // nobody wants it
	say(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce()})
	if err := p.await(ctx, func() bool { return p.acked[kit.EndpointURL] == version }); err != nil {
		t.Fatal(err)
	}
	p.set("svc0", f.assignment(0, 1))
	r = hear("svc0")
	say(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce(), ErrorDetail: &status.Status{Message: "no good"}})
	if err := p.await(ctx, func() bool { return false }); err == nil || !strings.Contains(err.Error(), "no good") {
		t.Errorf("rejected: %v", err)
	}
}

func TestAPlaneSendsTheWorldAgain(t *testing.T) {
	f := smallFleet(false)
	ctx, p, c := client(t, f)
	s, err := c.StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	q := &discoveryv3.DiscoveryRequest{TypeUrl: kit.ClusterURL}
	for range 3 {
		if err := s.Send(q); err != nil {
			t.Fatal(err)
		}
		if q.ResponseNonce != "" {
			if err := p.await(ctx, func() bool { return p.acked[kit.ClusterURL] == q.VersionInfo }); err != nil {
				t.Fatal(err)
			}
			p.again()
		}
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.GetResources()) != f.services || r.GetVersionInfo() == q.VersionInfo {
			t.Errorf("%d resources of version %q, want %d", len(r.GetResources()), r.GetVersionInfo(), f.services)
		}
		q = &discoveryv3.DiscoveryRequest{TypeUrl: kit.ClusterURL, ResponseNonce: r.GetNonce(), VersionInfo: r.GetVersionInfo()}
	}
}

func TestAPaceAsksAsOftenAsItIsTold(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "x") // what is wrong with it, the client sees
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	var out strings.Builder
	err := runPace([]string{"-to", addr + "=a," + addr + "=b," + addr + "=bad," + addr + "=c", "-rate", "1000", "-d", "100ms"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseLoad(out.String())
	if err != nil || got.requests != 75 || got.failed != 25 {
		t.Errorf("%+v, %v", got, err)
	}
}
