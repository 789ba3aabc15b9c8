package http2

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/protocol"
)

func TestMalformedRequestsAreRefused(t *testing.T) {
	pseudo := []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}
	with := func(more ...string) []string { return append(append([]string(nil), pseudo...), more...) }
	for _, tt := range []struct {
		name   string
		fields []string
		status string
	}{
		{"upper-case name", with("X-A", "b"), "400"},
		{"empty name", with("", "b"), "400"},
		{"space in a name", with("x a", "b"), "400"},
		{"colon in a name", with("x:a", "b"), "400"},
		{"line feed in a value", with("x", "a\nb"), "400"},
		{"carriage return in a value", with("x", "a\r\nb: c"), "400"},
		{"NUL in a value", with("x", "a\x00"), "400"},
		{"space before a value", with("x", " a"), "400"},
		{"space behind a value", with("x", "a\t"), "400"},
		{"connection", with("connection", "close"), "400"},
		{"keep-alive", with("keep-alive", "5"), "400"},
		{"proxy-connection", with("proxy-connection", "x"), "400"},
		{"transfer-encoding", with("transfer-encoding", "chunked"), "400"},
		{"upgrade", with("upgrade", "h2c"), "400"},
		{"te other than trailers", with("te", "gzip"), "400"},
		{"no method", []string{":scheme", "http", ":authority", "a", ":path", "/"}, "400"},
		{"no scheme", []string{":method", "GET", ":authority", "a", ":path", "/"}, "400"},
		{"no path", []string{":method", "GET", ":scheme", "http", ":authority", "a"}, "400"},
		{"empty path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", ""}, "400"},
		{"path without slash", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x"}, "400"},
		{"space in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/ HTTP/1.1"}, "400"},
		{"line feed in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/\r\nx: y"}, "400"},
		{"space in the method", []string{":method", "GET /", ":scheme", "http", ":authority", "a", ":path", "/"}, "400"},
		{"user in the authority", []string{":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/"}, "400"},
		{"line feed in the authority", []string{":method", "GET", ":scheme", "http", ":authority", "a\nb", ":path", "/"}, "400"},
		{"colon in the scheme", []string{":method", "GET", ":scheme", "http:", ":authority", "a", ":path", "/"}, "400"},
		{"pseudo twice", with(":path", "/"), "400"},
		{"pseudo late", []string{":method", "GET", ":scheme", "http", "x", "y", ":authority", "a", ":path", "/"}, "400"},
		{"pseudo unknown", append([]string{":x", "y"}, pseudo...), "400"},
		{"status", append([]string{":status", "200"}, pseudo...), "400"},
		{"protocol without CONNECT", append([]string{":protocol", "websocket"}, pseudo...), "400"},
		{"protocol not enabled", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"}, "400"},
		{"CONNECT with a path", []string{":method", "CONNECT", ":authority", "a:1", ":path", "/"}, "400"},
		{"CONNECT without authority", []string{":method", "CONNECT"}, "400"},
		{"two hosts", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "a", "host", "b"}, "400"},
		{"host differs", with("host", "b"), "400"},
		{"content-length twice", with("content-length", "0", "content-length", "0"), "400"},
		{"content-length malformed", with("content-length", "+0"), "400"},
		{"content-length without a body", with("content-length", "1"), "400"},
		{"large section", with("x", strings.Repeat("y", DefaultMaxHeaderBytes)), "431"},
		{"many fields", with(strings.Split(strings.Repeat("x,y,", 100)[:399], ",")...), "431"},
		{"many crumbs", with(strings.Split(strings.Repeat("cookie,a=b,", 100)[:1099], ",")...), "431"},
	} {
		for _, lenient := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				s := start(t, ServerOptions{Options: Options{StreamErrors: lenient}}, &handler{serve: echo}).greet()
				tr, dec := newTranscript()
				s.headers(1, true, s.block(tt.fields...))
				if lenient || tt.status == "431" { // the connection goes on
					s.head(3, true, s.get("/"))
					s.hear(tr, dec, over(1, 3))
					if h := tr.streams[3]; h == nil || h.get(":status") != "200" {
						t.Errorf("the next request got %v, %v", h, tr.last)
					}
				} else {
					s.hear(tr, dec, func(*transcript) bool { return false })
					if len(tr.goAways) == 0 || tr.goAways[0].ErrCode != http2.ErrCodeProtocol {
						t.Errorf("GOAWAY %v", tr.goAways)
					}
					var fault *protocol.Error
					if err := s.wait(); !errors.As(err, &fault) {
						t.Errorf("Serve returned %v", err)
					}
				}
				if h := tr.streams[1]; h == nil || h.get(":status") != tt.status {
					t.Errorf("got %v", h)
				}
			})
		}
	}
}

// headers sends a section in as many frames as it needs.
func (s *served) headers(id uint32, end bool, block []byte) {
	s.t.Helper()
	first := block[:min(len(block), maxFrame)]
	rest := block[len(first):]
	p := http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0}
	err := s.fr.WriteHeaders(p)
	for err == nil && len(rest) > 0 {
		n := min(len(rest), maxFrame)
		err = s.fr.WriteContinuation(id, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestConnectionErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		code http2.ErrCode
		do   func(s *served) error
	}{
		{"DATA on stream 0", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteData(0, true, []byte("x")) }},
		{"DATA on an idle stream", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteData(1, true, []byte("x")) }},
		{"even stream", http2.ErrCodeProtocol, func(s *served) error { s.head(2, true, s.get("/")); return nil }},
		{"smaller stream", http2.ErrCodeStreamClosed, func(s *served) error {
			s.head(5, true, s.get("/"))
			s.head(3, true, s.get("/"))
			return nil
		}},
		{"frame too large", http2.ErrCodeFrameSize, func(s *served) error { return s.fr.WriteRawFrame(0xff, 0, 0, make([]byte, maxFrame+1)) }},
		{"RST_STREAM on an idle stream", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteRSTStream(1, 0) }},
		{"RST_STREAM of 3 bytes", http2.ErrCodeFrameSize, func(s *served) error { return s.fr.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{1, 2, 3}) }},
		{"PING of 7 bytes", http2.ErrCodeFrameSize, func(s *served) error { return s.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }},
		{"PING on a stream", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }},
		{"PUSH_PROMISE", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 8)) }},
		{"CONTINUATION alone", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteContinuation(1, true, nil) }},
		{"CONTINUATION missing", http2.ErrCodeProtocol, func(s *served) error {
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.get("/")})
			return s.fr.WritePing(false, [8]byte{})
		}},
		{"header block", http2.ErrCodeCompression, func(s *served) error { s.head(1, true, []byte{0xff, 0xff, 0xff, 0xff, 0xff}); return nil }},
		{"padding", http2.ErrCodeProtocol, func(s *served) error {
			s.head(1, false, s.get("/"))
			return s.fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 'x'})
		}},
		{"window of 2^31", http2.ErrCodeFlowControl, func(s *served) error {
			return s.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"frame size of 1", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }},
		{"window update of 0", http2.ErrCodeProtocol, func(s *served) error { return s.fr.WriteWindowUpdate(0, 0) }},
		{"window overflow", http2.ErrCodeFlowControl, func(s *served) error { return s.fr.WriteWindowUpdate(0, 1<<31-1) }},
		{"settings flood of acks", http2.ErrCodeFrameSize, func(s *served) error {
			return s.fr.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6))
		}},
		{"empty DATA", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			s.head(1, false, s.get("/"))
			_ = s.fr.WriteData(1, false, nil)
			return s.fr.WriteData(1, false, nil)
		}},
		{"empty CONTINUATION", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.get("/")})
			_ = s.fr.WriteContinuation(1, false, nil)
			return s.fr.WriteContinuation(1, false, nil)
		}},
		{"CONTINUATION without end", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.get("/")})
			for range 6 {
				_ = s.fr.WriteContinuation(1, false, make([]byte, 16000))
			}
			return nil
		}},
		{"CONTINUATION byte by byte", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.get("/")})
			for range 100 {
				_ = s.fr.WriteContinuation(1, false, []byte{0})
			}
			return nil
		}},
		{"PRIORITY flood", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			for range 150 {
				_ = s.fr.WritePriority(3, http2.PriorityParam{StreamDep: 1})
			}
			return nil
		}},
		{"WINDOW_UPDATE flood", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			for range 10 {
				_ = s.fr.WriteWindowUpdate(0, 1)
			}
			return nil
		}},
		{"rapid reset", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			for i := range 300 {
				s.head(uint32(2*i+1), false, s.get("/"))
				if err := s.fr.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel); err != nil {
					return nil
				}
			}
			return nil
		}},
		{"resets provoked by WINDOW_UPDATE of 0", http2.ErrCodeEnhanceYourCalm, func(s *served) error {
			for i := range 300 {
				s.head(uint32(2*i+1), false, s.get("/"))
				if err := s.fr.WriteWindowUpdate(uint32(2*i+1), 0); err != nil {
					return nil
				}
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{DelayedClose: time.Second}, &handler{serve: echo}).greet() // a reset would overtake the GOAWAY
			go func() { _ = tt.do(s) }()                                                           // ends when it has written, or with the connection
			tr, dec := newTranscript()
			s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 })
			if len(tr.goAways) == 0 || tr.goAways[0].ErrCode != tt.code {
				t.Fatalf("GOAWAY %v, %v; want %v", tr.goAways, tr.last, tt.code)
			}
			s.nc.Close()
			var fault *protocol.Error
			if err := s.wait(); !errors.As(err, &fault) {
				t.Errorf("Serve returned %v", err)
			}
		})
	}
}

func TestStreamErrorsLeaveOthersAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		code http2.ErrCode
		do   func(s *served)
	}{
		{"data after the end", http2.ErrCodeStreamClosed, func(s *served) { s.head(1, true, s.get("/")); _ = s.fr.WriteData(1, true, []byte("x")) }},
		{"window too large", http2.ErrCodeFlowControl, func(s *served) {
			s.head(1, false, s.get("/"))
			_ = s.fr.WriteWindowUpdate(1, 1<<31-1)
		}},
		{"window update of 0", http2.ErrCodeProtocol, func(s *served) { s.head(1, false, s.get("/")); _ = s.fr.WriteWindowUpdate(1, 0) }},
		{"body longer than content-length", http2.ErrCodeProtocol, func(s *served) {
			s.head(1, false, s.get("/", "content-length", "1"))
			_ = s.fr.WriteData(1, true, []byte("xy"))
		}},
		{"body shorter than content-length", http2.ErrCodeProtocol, func(s *served) {
			s.head(1, false, s.get("/", "content-length", "3"))
			_ = s.fr.WriteData(1, true, []byte("xy"))
		}},
		{"trailers with a pseudo-header field", http2.ErrCodeProtocol, func(s *served) {
			s.head(1, false, s.get("/"))
			s.head(1, true, s.block(":path", "/"))
		}},
		{"trailers that do not end the stream", http2.ErrCodeProtocol, func(s *served) {
			s.head(1, false, s.get("/"))
			s.head(1, false, s.block("x", "y"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{Options: Options{StreamErrors: true}}, &handler{serve: hold}).greet()
			tt.do(s)
			s.head(3, true, s.get("/now"))
			tr, dec := newTranscript()
			s.hear(tr, dec, over(1, 3))
			if h := tr.streams[1]; h == nil || h.reset == nil || *h.reset != tt.code {
				t.Errorf("stream 1: %+v, %v", h, tr.last)
			}
			if h := tr.streams[3]; h == nil || h.get(":status") != "200" {
				t.Errorf("stream 3: %+v", h)
			}
		})
	}
}

func TestControlFramesThatNobodyReadsAreBounded(t *testing.T) {
	near, far := net.Pipe() // holds nothing: the first answer that is not read stops the flusher
	s := startOn(t, ServerOptions{}, &handler{serve: echo}, near, far).greet()
	ping := append(appendFrame(nil, framePing, 0, 0, 8), make([]byte, 8)...)
	batch := []byte(strings.Repeat(string(ping), 1000))
	for {
		if _, err := s.nc.Write(batch); err != nil {
			break // the connection was ended
		}
		select {
		case <-s.done:
		default:
			continue
		}
		break
	}
	var fault *protocol.Error
	if err := s.wait(); !errors.As(err, &fault) || s.stats.OutboundControlFlood.Value() != 1 {
		t.Errorf("Serve returned %v, flood %d", err, s.stats.OutboundControlFlood.Value())
	}
}

func TestWindowByWindowDribbleEnds(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: large}).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	s.head(1, true, s.get("/"))
	go func() {
		for range 5000 {
			if s.fr.WriteWindowUpdate(1, 1) != nil {
				return
			}
		}
	}()
	tr, dec := newTranscript()
	s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 })
	if len(tr.goAways) == 0 || tr.goAways[0].ErrCode != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("GOAWAY %v, %v", tr.goAways, tr.last)
	}
}

func TestTooManyStreamsAreRefusedAndMayBeTriedAgain(t *testing.T) {
	s := start(t, ServerOptions{Options: Options{MaxStreams: 2}}, &handler{serve: hold}).greet()
	for id := uint32(1); id <= 5; id += 2 {
		s.head(id, true, s.get("/"))
	}
	tr, dec := newTranscript()
	s.hear(tr, dec, over(5))
	if h := tr.streams[5]; h == nil || h.reset == nil || *h.reset != http2.ErrCodeRefusedStream {
		t.Errorf("got %+v", h)
	}
	if s.stats.StreamRefusedErrors.Value() != 1 {
		t.Errorf("stream_refused_errors %d", s.stats.StreamRefusedErrors.Value())
	}
}

func TestIndexedBombIsNotUnpacked(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo}).greet()
	big := s.get("/", "bomb", strings.Repeat("x", 3000))
	s.head(1, true, big)
	refs := append(s.get("/"), []byte(strings.Repeat("\xbe", 16000))...) // index 62: the newest entry
	s.head(3, true, refs)
	s.head(5, true, s.get("/"))
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1, 3, 5))
	for id, want := range map[uint32]string{1: "200", 3: "431", 5: "200"} {
		if h := tr.streams[id]; h == nil || h.get(":status") != want {
			t.Errorf("stream %d: want %s", id, want)
		}
	}
	if s.stats.HeaderOverflow.Value() != 1 {
		t.Errorf("header_overflow %d", s.stats.HeaderOverflow.Value())
	}
}

func TestPrefaceHasToBeRight(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo})
	_, _ = s.nc.Write([]byte("PRI * HTTP/2.0\r\n\r\nSX"))
	var fault *protocol.Error
	if err := s.wait(); !errors.As(err, &fault) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestFirstFrameHasToBeSettings(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo})
	_, _ = s.nc.Write([]byte(preface))
	_ = s.fr.WritePing(false, [8]byte{})
	var fault *protocol.Error
	if err := s.wait(); !errors.As(err, &fault) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestPeerTableSizeIsHeeded(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo}).greet(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	tr := &transcript{streams: map[uint32]*heard{}}
	dec := xhpack.NewDecoder(0, nil)
	for id := uint32(1); id <= 5; id += 2 {
		s.head(id, true, s.get("/"))
		s.hear(tr, dec, over(id))
	}
}

func TestFrameHeadIsReadAsItIsWritten(t *testing.T) {
	for _, f := range []frame{{0, frameData, 0, 0}, {1<<24 - 1, frameContinuation, 0xff, maxStreamID}, {77, frameSettings, 1, 5}} {
		b := appendFrame(nil, f.kind, f.flags, f.id, f.length)
		if got := parseFrame(b); got != f || len(b) != frameHead {
			t.Errorf("got %+v, want %+v", got, f)
		}
	}
	b := appendFrame(nil, frameData, 0, 1, 0)
	binary.BigEndian.PutUint32(b[5:], 1<<31|1)
	if parseFrame(b).id != 1 {
		t.Error("the reserved bit counts")
	}
}

func TestHeaderSectionsOfAllStreamsTogetherAreBounded(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: hold}).greet()
	section := s.get("/", "x", strings.Repeat("y", 50_000))
	const most = (1 << 20) / 50_000 // that fit
	last := uint32(0)
	for i := range most + 5 {
		last = uint32(2*i + 1)
		s.headers(last, true, section)
	}
	tr, dec := newTranscript()
	s.hear(tr, dec, over(last))
	refused := 0
	for _, h := range tr.streams {
		if h.reset != nil && *h.reset == http2.ErrCodeRefusedStream {
			refused++
		}
	}
	if refused < 4 || refused > 6 {
		t.Errorf("%d streams refused", refused)
	}
}
