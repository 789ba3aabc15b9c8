package scripts

import (
	"bytes"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/test/kit"
)

// posting is the head of a request whose body the test sends in its own time.
func posting(path string) kit.Head { return kit.Head{Method: "POST", Path: path} }

// TestUpstreamBreaksOffBeforeTheHead shows that the client gets a 503 that says why.
func TestUpstreamBreaksOffBeforeTheHead(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		client := r.client()
		s, err := client.Open(kit.Head{Path: "/dies"}, true)
		r.must(err)
		r.accept(r.a)
		r.a.Drop(false)
		r.wants(r.read(s), 503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination")
		r.logs("$d GET /dies 503 UC upstream_reset_before_response_started{connection_termination} 0 95 - $u")

		if p.Up == kit.HTTP2 {
			s, err = client.Open(kit.Head{Path: "/resets"}, true)
			r.must(err)
			up, _ := r.accept(r.a)
			r.must(up.Reset())
			r.wants(r.read(s), 503, "upstream connect error or disconnect/reset before headers. reset reason: remote reset")
			r.logs("$d GET /resets 503 UR upstream_reset_before_response_started{remote_reset} 0 * - $u")
			r.stat("cluster.a.upstream_rq_rx_reset", 1)
		}
		r.a.Handle(func(s kit.Stream) { _, _ = kit.Read(s); _ = kit.Respond(s, 200, "again") })
		r.wants(r.get(client, kit.Head{}), 200, "again")
	})
}

// TestUpstreamBreaksOffInTheBody shows that the client does not get what looks like a complete message, whatever the framing.
func TestUpstreamBreaksOffInTheBody(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		for _, fields := range [][]kit.Field{nil, kit.F("content-length", "100")} {
			for _, abort := range []bool{false, true} {
				s := r.open(kit.Head{Path: "/half"}, true)
				up, _ := r.accept(r.a)
				r.must(up.SendHead(kit.Head{Status: 200, Fields: fields}, false))
				r.must(up.Send([]byte("half"), false))
				if _, err := s.Head(); err != nil {
					t.Fatal(err)
				}
				if got, err := kit.ReadExactly(s, 4); err != nil {
					t.Fatalf("%q, %v", got, err)
				}
				if abort {
					r.must(up.Reset())
				} else {
					r.a.Drop(false)
				}
				r.fails(s)
				r.logs("$d GET /half 200 U* upstream_reset_after_response_started{*} 0 4 - $u")
			}
		}
	})
}

// TestClientCancelsInTheRequest shows that an upstream hears of it at once.
func TestClientCancelsInTheRequest(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		s := r.open(posting("/cancelled"), false)
		r.must(s.Send([]byte("abc"), false))
		up, _ := r.accept(r.a)
		if got, err := kit.ReadExactly(up, 3); err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		r.must(s.Reset())
		r.gone(up)
		r.logs("$d POST /cancelled 0 " + r.left() + " 3 0 - $u")
	})
}

// left is how the log tells of a client that has broken its exchange off.
func (r *rig) left() string {
	if r.pair.Down == kit.HTTP2 {
		return "DR http2.remote_reset"
	}
	return "DC downstream_remote_disconnect"
}

// TestClientCancelsInTheResponse shows that an upstream whose response nobody wants any more hears of it while it sends nothing.
func TestClientCancelsInTheResponse(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, timeout: 0s}}"})
		r.a.Manual()
		for _, started := range []bool{false, true} {
			s := r.open(kit.Head{Path: "/cancelled"}, true)
			up, _ := r.accept(r.a)
			if started {
				r.must(up.SendHead(kit.Head{Status: 200}, false))
				r.must(up.Send([]byte("some"), false))
				if _, err := s.Head(); err != nil {
					t.Fatal(err)
				}
			}
			r.must(s.Reset())
			r.gone(up)
			if started {
				r.logs("$d GET /cancelled 200 " + r.left() + " 0 * - $u")
			} else {
				r.logs("$d GET /cancelled 0 " + r.left() + " 0 0 - $u")
			}
		}
		r.stat("cluster.a.upstream_rq_active", 0)
	})
}

// TestClientLeavesUnderALargeResponse shows that a client that disappears while windows and socket buffers are full sets all free.
func TestClientLeavesUnderALargeResponse(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		ended := make(chan error, 1)
		r.a.Handle(func(s kit.Stream) {
			_, err := kit.Read(s)
			if err == nil {
				err = s.SendHead(kit.Head{Status: 200}, false)
			}
			for b := make([]byte, 64<<10); err == nil; {
				err = s.Send(b, false)
			}
			ended <- err
		})
		client := r.client()
		s, err := client.Open(kit.Head{}, true)
		r.must(err)
		if _, err := s.Head(); err != nil {
			t.Fatal(err)
		}
		r.must(client.Reset())
		if err := <-ended; err == nil {
			t.Error("the upstream has sent all of an endless response")
		}
	})
}

// TestEarlyResponse shows that a response which does not wait for the request's end reaches the client whole.
func TestEarlyResponse(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		s := r.open(posting("/early"), false)
		r.must(s.Send([]byte("abc"), false))
		up, _ := r.accept(r.a)
		r.must(kit.Respond(up, 413, "too much of it"))
		r.wants(r.read(s), 413, "too much of it")
		r.gone(up)
		r.logs("$d POST /early 413 - via_upstream * 14 - $u")
	})
}

// TestResponseBeforeTheRequestIsComplete shows both directions at once: the response's head and a part of its body come while the
// request goes on, and each waits for the other.
func TestResponseBeforeTheRequestIsComplete(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		r.a.Manual()
		s := r.open(posting("/both"), false)
		up, _ := r.accept(r.a)
		r.must(up.SendHead(kit.Head{Status: 200}, false))
		if _, err := s.Head(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			r.carry(s, up, "question")
			r.carry(up, s, "answer")
		}
		r.must(s.Send([]byte("last"), true))
		if got, err := kit.Body(up); err != nil || string(got) != "last" {
			t.Fatalf("the request ends with %q, %v", got, err)
		}
		r.must(up.Send([]byte("last"), true))
		if got, err := kit.Body(s); err != nil || string(got) != "last" {
			t.Fatalf("the response ends with %q, %v", got, err)
		}
		r.logs("$d POST /both 200 - via_upstream 164 124 - $u")
	})
}

// carry sends bytes from one end of a stream to the other.
func (r *rig) carry(from, to kit.Stream, text string) {
	r.t.Helper()
	r.must(from.Send([]byte(text), false))
	if got, err := kit.ReadExactly(to, len(text)); err != nil || string(got) != text {
		r.t.Fatalf("%q came as %q, %v", text, got, err)
	}
}

// TestSlowReaderHoldsTheSender shows the backpressure: when the client reads nothing, the upstream cannot send without end; when it
// reads on, everything comes.
func TestSlowReaderHoldsTheSender(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		const piece, most = 64 << 10, 64 << 20
		r := newRig(t, p, kit.HTTP{Routes: "- {match: {prefix: /}, route: {cluster: a, timeout: 0s}}"})
		sent := make(chan int, most/piece+1)
		r.a.Handle(func(s kit.Stream) {
			defer close(sent)
			if _, err := kit.Read(s); err != nil || s.SendHead(kit.Head{Status: 200}, false) != nil {
				return
			}
			b := bytes.Repeat([]byte("x"), piece)
			for n := 0; n < most/piece && s.Send(b, n == most/piece-1) == nil; n++ {
				sent <- n
			}
		})
		s := r.open(kit.Head{}, true)
		if _, err := s.Head(); err != nil {
			t.Fatal(err)
		}
		for last := -1; last != len(sent); { // until nothing has moved for a while
			last = len(sent)
			<-time.After(300 * time.Millisecond)
		}
		if len(sent) == most/piece {
			t.Error("everything was sent although nothing was read")
		}
		total := 0
		for {
			b, err := s.Chunk()
			total += len(b)
			if err == io.EOF {
				break
			}
			r.must(err)
		}
		if total != most {
			t.Errorf("%d bytes came, want %d", total, most)
		}
	})
}

// TestStreamsRefusedByTheUpstream shows that what the upstream says it has not acted on (RFC 9113 section 8.7) is sent again.
func TestStreamsRefusedByTheUpstream(t *testing.T) {
	for _, down := range kit.Protos() {
		t.Run(string(down), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kit.Pair{Down: down, Up: kit.HTTP2}, kit.HTTP{
				Routes: `- {match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: refused-stream, num_retries: 2}}}`,
			})
			r.a.Manual()
			s := r.open(kit.Head{Path: "/refused"}, true)
			for range 2 {
				up, _ := r.accept(r.a)
				r.must(kit.ResetWith(up, http2.ErrCodeRefusedStream))
			}
			up, _ := r.accept(r.a)
			r.must(kit.Respond(up, 200, "third"))
			r.wants(r.read(s), 200, "third")
			r.stat("cluster.a.http2.rx_reset", 2)
		})
	}
}
