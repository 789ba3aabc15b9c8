package scripts

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// grpcHead begins a call.
func grpcHead(path string, fields ...string) kit.Head {
	return kit.Head{Method: "POST", Path: path, Fields: append(kit.F("content-type", "application/grpc", "te", "trailers"), kit.F(fields...)...)}
}

// grpcMessage is a message as gRPC frames it.
func grpcMessage(text string) string {
	n := len(text)
	return string([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + text
}

// grpcAnswer is the head of a response to a call.
func grpcAnswer() kit.Head {
	return kit.Head{Status: 200, Fields: kit.F("content-type", "application/grpc")}
}

// trailer is a trailer's value.
func trailer(w *kit.Whole, name string) string {
	return (&kit.Head{Fields: w.Trailer}).Value(name)
}

// TestGRPCUnary is a call as any client makes it.
func TestGRPCUnary(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		client := r.client()
		for _, status := range []struct{ code, log string }{{"0", "OK"}, {"5", "NotFound"}} {
			s, err := client.Open(grpcHead("/pkg.Service/Method", "custom-bin", "AAEC"), false)
			r.must(err)
			r.must(s.Send([]byte(grpcMessage("ask")), true))
			up, head := r.accept(r.a)
			if head.Value("te") != "trailers" || head.Value("custom-bin") != "AAEC" || head.Value("content-type") != "application/grpc" {
				t.Errorf("the upstream got %v", head.Fields)
			}
			if b, err := kit.Body(up); err != nil || string(b) != grpcMessage("ask") {
				t.Fatalf("the upstream got %q, %v", b, err)
			}
			r.must(up.SendHead(grpcAnswer(), false))
			r.must(up.Send([]byte(grpcMessage("answer")), false))
			r.must(up.SendTrailer(kit.F("grpc-status", status.code, "grpc-message", "why")...))
			w := r.read(s)
			r.wants(w, 200, grpcMessage("answer"))
			if trailer(w, "grpc-status") != status.code || trailer(w, "grpc-message") != "why" {
				t.Errorf("trailers %v", w.Trailer)
			}
			r.logs("$d POST /pkg.Service/Method 200 - via_upstream 8 11 " + status.log + " $u")
		}
	})
}

// TestGRPCTrailersOnly passes a response that is only a head.
func TestGRPCTrailersOnly(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		s := r.open(grpcHead("/pkg.Service/None"), false)
		r.must(s.Send([]byte(grpcMessage("ask")), true))
		up, _ := r.accept(r.a)
		head := grpcAnswer()
		head.Fields = append(head.Fields, kit.F("grpc-status", "12", "grpc-message", "no such method")...)
		r.must(up.SendHead(head, true))
		w := r.read(s)
		r.wants(w, 200, "")
		if w.Value("grpc-status") != "12" || w.Value("grpc-message") != "no such method" || len(w.Trailer) > 0 {
			t.Errorf("%v, trailers %v", w.Fields, w.Trailer)
		}
		r.logs("$d POST /pkg.Service/None 200 - via_upstream 8 0 Unimplemented $u")
	})
}

// TestGRPCStreams has many messages in both directions, each answered before the next is sent.
func TestGRPCStreams(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: "- {match: {prefix: /, grpc: {}}, route: {cluster: a, timeout: 0s}}"})
		r.a.Manual()
		s := r.open(grpcHead("/pkg.Service/Chat"), false)
		up, _ := r.accept(r.a)
		r.must(up.SendHead(grpcAnswer(), false))
		if _, err := s.Head(); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			r.carry(s, up, grpcMessage(fmt.Sprint("question ", i)))
			r.carry(up, s, grpcMessage(fmt.Sprint("answer ", i)))
		}
		r.must(s.Send(nil, true))
		if b, err := kit.Body(up); err != nil || len(b) > 0 {
			t.Fatalf("the request ends with %q, %v", b, err)
		}
		r.carry(up, s, grpcMessage("one more"))
		r.must(up.SendTrailer(kit.F("grpc-status", "0")...))
		if b, err := kit.Body(s); err != nil || len(b) > 0 {
			t.Fatalf("the response ends with %q, %v", b, err)
		}
		if got := s.Trailer(); len(got) != 1 || got[0].Value != "0" {
			t.Errorf("trailers %v", got)
		}
		r.logs("$d POST /pkg.Service/Chat 200 - via_upstream * OK $u")
	})
}

// TestGRPCLocalReplies have the form that gRPC clients understand.
func TestGRPCLocalReplies(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{
			Routes:   "- {match: {prefix: /gone}, route: {cluster: empty}}\n- {match: {prefix: /dies}, route: {cluster: a}}",
			Clusters: (&rig{pair: p}).cluster("a", "") + "\n- {name: empty, connect_timeout: 5s}",
		})
		r.a.Handle(func(s kit.Stream) { _, _ = kit.Read(s) }) // and break off
		for _, c := range []struct{ path, status, message, log string }{
			{"/none", "12", "", "NR route_not_found * 0 Unimplemented -"},
			{"/gone", "14", "no healthy upstream", "UH no_healthy_upstream * 0 Unavailable -"},
			{"/dies", "14", "upstream connect error or disconnect/reset before headers. *", "U* upstream_reset_before_response_started{*} * 0 Unavailable $u"},
		} {
			s := r.open(grpcHead(c.path), false) // HTTP/1 closes the connection when the answer comes before the request's end
			r.must(s.Send([]byte(grpcMessage("ask")), true))
			w := r.read(s)
			r.wants(w, 200, "")
			if w.Value("grpc-status") != c.status || !match(c.message, w.Value("grpc-message")) || w.Value("content-type") != "application/grpc" {
				t.Errorf("%s: got %v", c.path, w.Fields)
			}
			r.logs("$d POST " + c.path + " 200 " + c.log)
		}
	})
}

// TestGRPCTimeout takes the client's deadline for the route's.
func TestGRPCTimeout(t *testing.T) {
	h := kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, max_stream_duration: {grpc_timeout_header_max: 0s}}}"}
	fake(t, h, func(r *rig) {
		r.a.Manual()
		s := r.open(grpcHead("/pkg.Service/Slow", "grpc-timeout", "3S"), false)
		r.must(s.Send([]byte(grpcMessage("ask")), true))
		up, _ := r.accept(r.a)
		begin := time.Now()
		w := r.read(s)
		took := time.Since(begin)
		if w.Status != 200 || w.Value("grpc-status") != "4" || took < 2500*time.Millisecond || took > 3500*time.Millisecond {
			r.t.Errorf("got %d %v after %v", w.Status, w.Fields, took)
		}
		r.gone(up)
		synctest.Wait()
	})
}

// TestGRPCRetries tries again by the status of a response that is only a head.
func TestGRPCRetries(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: \"unavailable,cancelled\", num_retries: 2}}}"})
		r.a.Manual()
		s := r.open(grpcHead("/pkg.Service/Method"), false)
		r.must(s.Send([]byte(grpcMessage("ask")), true))
		for _, status := range []string{"14", "1"} {
			up, _ := r.accept(r.a)
			if b, err := kit.Body(up); err != nil || string(b) != grpcMessage("ask") {
				t.Fatalf("the upstream got %q, %v", b, err)
			}
			head := grpcAnswer()
			head.Fields = append(head.Fields, kit.F("grpc-status", status)...)
			r.must(up.SendHead(head, true))
		}
		up, _ := r.accept(r.a)
		r.must(up.SendHead(grpcAnswer(), false))
		r.must(up.SendTrailer(kit.F("grpc-status", "0")...))
		w := r.read(s)
		r.wants(w, 200, "")
		if trailer(w, "grpc-status") != "0" {
			t.Errorf("trailers %v", w.Trailer)
		}
		r.stat("cluster.a.upstream_rq_retry", 2)
	})
}
