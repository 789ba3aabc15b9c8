package scripts

import (
	"errors"
	"fmt"

	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/test/kit"
)

// A siege is one attack on a Weft with default options, while a healthy client goes on.
type siege struct {
	*rig
	stop    chan struct{}
	running sync.WaitGroup
	healthy atomic.Int64 // requests of the healthy client
	began   uint64       // bytes in use when the attack began
}

// lay starts a Weft, and a client on a connection of its own that asks and asks.
func lay(t *testing.T, up kit.Proto, routes string) *siege {
	lab := kit.New(t)
	a, well := lab.Origin("a", up), lab.Origin("well", kit.HTTP1)
	well.Handle(func(s kit.Stream) {
		if w, err := kit.Read(s); err == nil {
			_ = kit.Respond(s, 200, w.Path)
		}
	})
	if routes == "" {
		routes = "- {match: {prefix: /}, route: {cluster: a}}"
	}
	r := &rig{t: t, pair: kit.Pair{Down: kit.HTTP2, Up: up}, lab: lab, a: a}
	r.weft = lab.Start(kit.HTTP{
		Routes:    "- {match: {prefix: /well}, route: {cluster: well}}\n" + routes,
		Upstreams: []string{"a", "well"},
	}.YAML())
	s := &siege{rig: r, stop: make(chan struct{})}
	client := r.client()
	r.must(ownAnswer(client, "/well"))
	s.began = inUse()
	s.running.Go(func() { // ends with stop
		for {
			select {
			case <-s.stop:
				return
			default:
			}
			if err := ownAnswer(client, fmt.Sprint("/well/", s.healthy.Add(1))); err != nil {
				t.Errorf("the healthy client: %v", err)
				return
			}
		}
	})
	return s
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// lift checks that memory has not grown by much, and that the healthy client was served meanwhile and still is.
func (s *siege) lift() {
	s.t.Helper()
	const most = 64 << 20
	if now := inUse(); now > s.began+most {
		s.t.Errorf("%d MiB of memory in use, %d before the attack", now>>20, s.began>>20)
	}
	for before, until := s.healthy.Load(), time.Now().Add(20*time.Second); s.healthy.Load() < before+5; time.Sleep(time.Millisecond) {
		if s.t.Failed() || time.Now().After(until) {
			s.t.Error("the healthy client is not served")
			break
		}
	}
	close(s.stop)
	s.running.Wait()
}

// some waits until a counter is not 0.
func (s *siege) some(names ...string) {
	s.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		values, err := s.weft.Stats()
		s.must(err)
		for _, name := range names {
			if values[name] > 0 {
				return
			}
		}
		if time.Now().After(until) {
			s.t.Fatalf("none of %q has counted anything", names)
		}
	}
}

// ended waits until Weft has closed the attacker's connection, and checks that it said why.
func (s *siege) ended(a *kit.H2, codes ...http2.ErrCode) {
	s.t.Helper()
	s.must(a.Wait("end of the connection", func(seen *kit.Seen) bool { return seen.End != nil }))
	_ = a.Wait("", func(seen *kit.Seen) bool {
		said := len(seen.GoAways) == 0 // what was not read before a reset may be lost
		for _, code := range codes {
			said = said || seen.GoAways[len(seen.GoAways)-1].Code == code
		}
		if !said {
			s.t.Errorf("GOAWAY %v, want %v", seen.GoAways, codes)
		}
		return true
	})
}

// pour sends until the connection has ended, or so many bytes.
func (s *siege) pour(a *kit.H2, b []byte, most int) {
	for sent := 0; sent < most && a.Raw(b) == nil; {
		sent += len(b)
	}
}

// frames is what f writes.
func frames(f func(fr *http2.Framer) error) []byte {
	var b buffer
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	if err := f(fr); err != nil {
		panic(err) // a frame of the test is wrong
	}
	return b
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// attack runs an attack in a subtest.
func attack(t *testing.T, name, routes string, f func(s *siege)) {
	t.Run(name, func(t *testing.T) {
		s := lay(t, kit.HTTP2, routes)
		f(s)
		s.lift()
	})
}

// deaf connects an attacker that reads nothing.
func (s *siege) deaf() *kit.H2 { return s.lab.DialH2("main", kit.H2Options{Deaf: true}) }

// hold makes the origin take requests and say nothing until they are cancelled.
func (s *siege) hold() { s.a.Handle(func(up kit.Stream) { _ = up.Gone() }) }

// TestH2Floods sends frames that cost the receiver more than the sender.
func TestH2Floods(t *testing.T) {
	const much = 256 << 20
	control := func(f func(fr *http2.Framer) error) func(s *siege) {
		many := frames(func(fr *http2.Framer) error {
			for range 2000 {
				if err := f(fr); err != nil {
					return err
				}
			}
			return nil
		})
		return func(s *siege) {
			a := s.deaf()
			s.pour(a, many, much)
			s.some("http2.outbound_control_flood")
		}
	}
	attack(t, "ping flood (CVE-2019-9512)", "", control(func(fr *http2.Framer) error { return fr.WritePing(false, [8]byte{}) }))
	attack(t, "settings flood (CVE-2019-9515)", "", control(func(fr *http2.Framer) error { return fr.WriteSettings() }))

	attack(t, "priority churn (CVE-2019-9513)", "", func(s *siege) {
		a := s.lab.DialH2("main", kit.H2Options{})
		for n := uint32(0); n < 100000; n++ {
			p := http2.PriorityParam{StreamDep: n % 7, Weight: uint8(n)}
			if a.Frames(func(fr *http2.Framer) error { return fr.WritePriority(2*(n%1000)+101, p) }) != nil {
				break
			}
		}
		s.ended(a, http2.ErrCodeEnhanceYourCalm)
		s.some("http2.inbound_priority_frames_flood")
	})
	attack(t, "window update flood", "", func(s *siege) {
		a := s.lab.DialH2("main", kit.H2Options{})
		one := frames(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, 1) })
		s.pour(a, one, 100000*len(one))
		s.ended(a, http2.ErrCodeEnhanceYourCalm)
		s.some("http2.inbound_window_update_frames_flood")
	})
	attack(t, "empty DATA frames (CVE-2019-9518)", "", func(s *siege) {
		s.hold()
		a := s.lab.DialH2("main", kit.H2Options{})
		up, err := a.Open(posting("/"), false)
		s.must(err)
		one := frames(func(fr *http2.Framer) error { return fr.WriteData(kit.StreamID(up), false, nil) })
		s.pour(a, one, 10000*len(one))
		s.ended(a, http2.ErrCodeEnhanceYourCalm)
		s.some("http2.inbound_empty_frames_flood")
	})
	attack(t, "empty CONTINUATION frames (CVE-2019-9518)", "", func(s *siege) {
		a := s.lab.DialH2("main", kit.H2Options{})
		s.must(a.Frames(func(fr *http2.Framer) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
		}))
		one := frames(func(fr *http2.Framer) error { return fr.WriteContinuation(1, false, nil) })
		s.pour(a, one, 100000*len(one))
		s.ended(a, http2.ErrCodeEnhanceYourCalm)
	})
	attack(t, "CONTINUATION flood (CVE-2024-27919)", "", func(s *siege) {
		a := s.lab.DialH2("main", kit.H2Options{})
		block := a.Block(kit.F(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")...)
		s.must(a.Frames(func(fr *http2.Framer) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		}))
		literal := append([]byte{0, 1, 'x', 0x7f, 0x81, 0x1e}, make([]byte, 4000)...) // a field of 4,000 bytes that is not indexed
		for i := 6; i < len(literal); i++ {
			literal[i] = 'v'
		}
		one := frames(func(fr *http2.Framer) error { return fr.WriteContinuation(1, false, literal) })
		s.pour(a, one, 64<<20)
		s.ended(a, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeCompression, http2.ErrCodeInternal, http2.ErrCodeProtocol)
	})
	attack(t, "0-length headers (CVE-2019-9516)", "", func(s *siege) {
		a := s.lab.DialH2("main", kit.H2Options{})
		for range 100 {
			fields := kit.F(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "", "", "", "")
			if s.headers(a, fields, true) != nil {
				break
			}
		}
		s.ended(a, http2.ErrCodeProtocol)
		s.some("http2.rx_messaging_error")
		s.unseen()
	})
	attack(t, "reset flood (CVE-2019-9514)", "", func(s *siege) {
		a := s.deaf()
		for range 100000 {
			if s.headers(a, kit.F(":method", "GET", ":scheme", "http", "NOT-LOWER", "x"), true) != nil {
				break
			}
		}
		a.Listen()
		s.ended(a, http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm)
		s.some("http2.rx_messaging_error")
		s.unseen()
	})
}

// headers sends a request's header section as it is, on a new stream.
func (s *siege) headers(a *kit.H2, fields []kit.Field, end bool) error {
	_, err := a.OpenRaw(fields, end)
	return err
}

// unseen checks that no request has reached the origin under attack.
func (s *siege) unseen() {
	s.t.Helper()
	if n, _, _ := s.a.Began(); n > 0 {
		s.t.Errorf("%d requests reached the upstream", n)
	}
}

// TestH2Resets makes Weft begin work that is reset at once, by the client or by Weft itself.
func TestH2Resets(t *testing.T) {
	get := kit.F(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	reset := func(fields []kit.Field, end bool, f func(fr *http2.Framer, id uint32) error) func(s *siege) {
		return func(s *siege) {
			const most = 20000
			s.hold()
			a := s.lab.DialH2("main", kit.H2Options{})
			n := 0
			for ; n < most; n++ {
				id, err := a.OpenRaw(fields, end)
				if err != nil || a.Frames(func(fr *http2.Framer) error { return f(fr, id) }) != nil {
					break
				}
			}
			if n == most {
				s.t.Errorf("%d streams were begun and reset without an end", n)
			}
			s.ended(a, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeProtocol, http2.ErrCodeStreamClosed, http2.ErrCodeFlowControl, http2.ErrCodeFrameSize)
			s.stat("cluster.a.upstream_rq_active", 0)
			if n, _, _ := s.a.Began(); n > 2000 {
				s.t.Errorf("%d requests reached the upstream", n)
			}
		}
	}
	attack(t, "rapid reset (CVE-2023-44487)", "", func(s *siege) {
		reset(get, true, func(fr *http2.Framer, id uint32) error { return fr.WriteRSTStream(id, http2.ErrCodeCancel) })(s)
		s.some("http.main.downstream_rq_too_many_premature_resets")
	})
	made := "MadeYouReset (CVE-2025-8671): "
	attack(t, made+"WINDOW_UPDATE of 0", "", reset(get, true, func(fr *http2.Framer, id uint32) error { return fr.WriteWindowUpdate(id, 0) }))
	attack(t, made+"WINDOW_UPDATE that overflows", "", reset(get, true, func(fr *http2.Framer, id uint32) error {
		return fr.WriteWindowUpdate(id, 1<<31-1)
	}))
	attack(t, made+"PRIORITY of itself", "", reset(get, true, func(fr *http2.Framer, id uint32) error {
		return fr.WritePriority(id, http2.PriorityParam{StreamDep: id})
	}))
	attack(t, made+"PRIORITY of a wrong size", "", reset(get, true, func(fr *http2.Framer, id uint32) error {
		return fr.WriteRawFrame(http2.FramePriority, 0, id, []byte{0, 0, 0, 1})
	}))
	attack(t, made+"HEADERS after END_STREAM", "", reset(get, true, func(fr *http2.Framer, id uint32) error {
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x82}, EndHeaders: true, EndStream: true})
	}))
	attack(t, made+"DATA after END_STREAM", "", reset(get, true, func(fr *http2.Framer, id uint32) error {
		return fr.WriteData(id, true, []byte("more"))
	}))
	attack(t, made+"DATA beyond content-length", "", reset(append(get[:len(get):len(get)], kit.F("content-length", "1")...), false,
		func(fr *http2.Framer, id uint32) error { return fr.WriteData(id, false, []byte("more")) }))
}

// TestH2Bombs sends little that takes much memory.
func TestH2Bombs(t *testing.T) {
	get := kit.F(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	// bomb fills the dynamic table with one field, and then refers to it again and again with a byte each.
	bomb := func(name, value string, refs, streams int) func(s *siege) {
		return func(s *siege) {
			s.hold()
			a := s.lab.DialH2("main", kit.H2Options{Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}})
			for range streams {
				block := a.Block(append(get[:len(get):len(get)], kit.F(name, value)...)...)
				ref := a.Block(kit.F(name, value)...)
				if len(ref) != 1 {
					s.t.Fatalf("a reference takes %d bytes", len(ref))
				}
				for range refs {
					block = append(block, ref[0])
				}
				if a.SendBlock(block, true) != nil {
					break
				}
			}
			s.some("http2.header_overflow", "http.main.downstream_rq_4xx", "http2.rx_messaging_error")
			s.unseen()
			_ = a.Close() // perhaps Weft has closed it
		}
	}
	big := fmt.Sprintf("%03500d", 0)
	attack(t, "HPACK bomb (CVE-2016-6581)", "", bomb("x-large", big, 16000, 50))
	attack(t, "HTTP/2 bomb (CVE-2026-47774): references to nearly nothing", "", bomb("x", "", 16000, 100))
	attack(t, "HTTP/2 bomb (CVE-2026-47774): cookie crumbs", "", bomb("cookie", "", 16000, 100))
	attack(t, "HTTP/2 bomb (CVE-2026-47774): many fields below the limit, and no window", "", func(s *siege) {
		large := make([]byte, 1<<20) // which nobody takes
		s.a.Handle(func(up kit.Stream) {
			if _, err := kit.Read(up); err == nil && up.SendHead(kit.Head{Status: 200}, false) == nil {
				_ = up.Send(large, true)
			}
		})
		for range 10 {
			a := s.lab.DialH2("main", kit.H2Options{Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}})
			fields := get[:len(get):len(get)]
			for range 80 {
				fields = append(fields, kit.Field{Name: "cookie"})
			}
			for range 100 {
				if s.headers(a, fields, true) != nil {
					break
				}
			}
			s.must(a.Ping())
		}
		s.some("cluster.a.upstream_rq_total")
		s.lifted()
	})
}

// lifted checks memory while the attack stands.
func (s *siege) lifted() {
	s.t.Helper()
	if now := inUse(); now > s.began+64<<20 {
		s.t.Errorf("%d MiB of memory in use, %d before the attack", now>>20, s.began>>20)
	}
}

// TestH2Stalls opens streams and does not take what it asked for.
func TestH2Stalls(t *testing.T) {
	const streams = 100
	endless := func(s *siege, sent *atomic.Int64) {
		s.a.Handle(func(up kit.Stream) {
			if _, err := kit.Read(up); err != nil || up.SendHead(kit.Head{Status: 200}, false) != nil {
				return
			}
			for b := make([]byte, 16<<10); sent.Load() < 1<<30 && up.Send(b, false) == nil; {
				sent.Add(int64(len(b)))
			}
		})
	}
	ask := func(s *siege, a *kit.H2) {
		for range streams {
			_, err := a.Open(kit.Head{}, true)
			s.must(err)
		}
		s.must(s.a.WaitBegan(streams))
	}
	attack(t, "internal data buffering (CVE-2019-9517)", "", func(s *siege) {
		var sent atomic.Int64
		endless(s, &sent)
		a := s.lab.DialH2("main", kit.H2Options{Deaf: true, Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}}})
		s.must(a.Frames(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, 1<<31-1-65535) }))
		ask(s, a)
		s.settles(&sent)
		s.lifted()
		s.must(a.Reset())
	})
	attack(t, "data dribble (CVE-2019-9511)", "", func(s *siege) {
		var sent atomic.Int64
		endless(s, &sent)
		a := s.lab.DialH2("main", kit.H2Options{Stalled: true, Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1}}})
		ask(s, a)
		for i := range 20 { // a byte for each stream
			s.must(a.Wait("a byte a stream", func(seen *kit.Seen) bool { return seen.Data >= (i+1)*streams || seen.End != nil }))
			err := a.Frames(func(fr *http2.Framer) error {
				for id := uint32(1); id < 2*streams; id += 2 {
					if err := fr.WriteWindowUpdate(id, 1); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				break
			}
		}
		s.settles(&sent)
		s.lifted()
		_ = a.Reset() // perhaps Weft has closed it
	})
}

// settles waits until the origin can send no more, which must be long before it has sent all it would like to.
func (s *siege) settles(sent *atomic.Int64) {
	s.t.Helper()
	for last := int64(-1); sent.Load() != last; time.Sleep(200 * time.Millisecond) {
		last = sent.Load()
	}
	if n := sent.Load(); n > 128<<20 {
		s.t.Errorf("the upstream could send %d MiB that nobody takes", n>>20)
	}
}

// TestH2StalledWindowIsTimedOut shows that a response which nobody takes does not stand for ever.
func TestH2StalledWindowIsTimedOut(t *testing.T) {
	fakePair(t, kit.Pair{Down: kit.HTTP2, Up: kit.HTTP2}, kit.HTTP{}, func(r *rig) {
		r.a.Manual()
		a := r.lab.DialH2("main", kit.H2Options{Stalled: true, Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}})
		s, err := a.Open(kit.Head{}, true)
		r.must(err)
		up, _ := r.accept(r.a)
		r.must(kit.Respond(up, 200, "nobody reads this"))
		if _, err := s.Head(); err != nil {
			r.t.Fatal(err)
		}
		begin := time.Now()
		r.gone(s)
		if took := time.Since(begin); took > 6*time.Minute {
			r.t.Errorf("after %v, want the stream idle timeout of five minutes", took)
		}
		r.stat("http2.tx_flush_timeout", 1)
		r.stat("http.main.downstream_rq_active", 0)
	})
}

// TestH2StreamsBeyondTheLimit are refused one by one; those within it go on.
func TestH2StreamsBeyondTheLimit(t *testing.T) {
	attack(t, "streams", "", func(s *siege) {
		s.a.Manual()
		a := s.lab.DialH2("main", kit.H2Options{})
		s.must(a.Ping()) // so that both know the limit
		var open []kit.Stream
		for range 110 {
			one, err := a.Open(kit.Head{}, true)
			s.must(err)
			open = append(open, one)
		}
		for _, refused := range open[100:] {
			var code *kit.CodeError
			if _, err := refused.Head(); !errors.As(err, &code) || code.Code != http2.ErrCodeRefusedStream {
				s.t.Errorf("a stream beyond the limit: %v", err)
			}
		}
		for range 100 {
			up, _ := s.accept(s.a)
			s.must(kit.Respond(up, 200, "fine"))
		}
		for _, one := range open[:100] {
			s.wants(s.read(one), 200, "fine")
		}
	})
}
