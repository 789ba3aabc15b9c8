package stats

import (
	"fmt"
	"io"
	"testing"
)

// bigStore has n clusters of 80 series, a tenth of them used.
func bigStore(n int) *Store {
	s := NewStore(Options{Lanes: 2})
	for i := range n {
		name := fmt.Sprintf("outbound|80||service-%05d.default.svc.cluster.local", i)
		g := NewGroup[eighty](s.Scope("cluster."+name+".", Tag{"envoy.cluster_name", name}))
		if i%10 == 0 {
			m := g.Lane(uint32(i / 10))
			m.A.Codes.Inc(200)
			m.A.Total.Inc()
			m.A.Time.Record(uint64(i))
		}
	}
	return s
}

// eighty is 80 series in the shape of a cluster's: clusterStats has 12, a blank 17.
type eighty struct {
	A clusterStats
	B blank `stat:"b."`
	C blank `stat:"c."`
	D blank `stat:"d."`
	E blank `stat:"e."`
}

type blank struct {
	F0  Gauge     `stat:"cx_active"`
	F1  Counter   `stat:"cx_total"`
	F2  Counter   `stat:"cx_http1_total"`
	F3  Counter   `stat:"cx_http2_total"`
	F4  Counter   `stat:"cx_connect_fail"`
	F5  Counter   `stat:"cx_connect_timeout"`
	F6  Counter   `stat:"cx_idle_timeout"`
	F7  Counter   `stat:"cx_overflow"`
	F8  Counter   `stat:"cx_destroy"`
	F9  Counter   `stat:"cx_destroy_local"`
	F10 Counter   `stat:"cx_destroy_remote"`
	F11 Counter   `stat:"cx_rx_bytes_total"`
	F12 Counter   `stat:"cx_tx_bytes_total"`
	F13 Counter   `stat:"rq_timeout"`
	F14 Counter   `stat:"rq_retry"`
	F15 Counter   `stat:"rq_pending_total"`
	F16 Histogram `stat:"cx_length_ms"`
}

func BenchmarkInc(b *testing.B) {
	g := NewGroup[clusterStats](NewStore(Options{Lanes: 2}).Scope("c."))
	for b.Loop() {
		g.Lane(1).Total.Inc()
	}
}

func BenchmarkLane(b *testing.B) {
	g := NewGroup[clusterStats](NewStore(Options{Lanes: 2}).Scope("c."))
	var m *clusterStats
	for b.Loop() {
		m = g.Lane(1)
	}
	_ = m
}

func BenchmarkRecord(b *testing.B) {
	g := NewGroup[clusterStats](NewStore(Options{Lanes: 2}).Scope("c."))
	m := g.Lane(0)
	v := uint64(0)
	for b.Loop() {
		m.Time.Record(v % 1024)
		v += 17
	}
}

func BenchmarkCodes(b *testing.B) {
	var c Codes
	for b.Loop() {
		c.Inc(200)
	}
}

func BenchmarkIncParallel(b *testing.B) {
	g := NewGroup[clusterStats](NewStore(Options{Lanes: 8}).Scope("c."))
	var lanes Counter
	b.RunParallel(func(pb *testing.PB) {
		lanes.Inc()
		m := g.Lane(uint32(lanes.Value()))
		for pb.Next() {
			m.Total.Inc()
		}
	})
}

// 10,000 clusters of 80 series.
func BenchmarkScrape(b *testing.B) {
	s := bigStore(10_000)
	for name, write := range map[string]func() error{
		"text":            func() error { return s.WriteText(io.Discard, Query{}) },
		"text-used":       func() error { return s.WriteText(io.Discard, Query{UsedOnly: true}) },
		"json":            func() error { return s.WriteJSON(io.Discard, Query{}) },
		"prometheus":      func() error { return s.WritePrometheus(io.Discard, Query{}) },
		"prometheus-used": func() error { return s.WritePrometheus(io.Discard, Query{UsedOnly: true}) },
		"flush":           func() error { s.Flush(); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := write(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
