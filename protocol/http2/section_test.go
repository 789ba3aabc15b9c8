package http2

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/protocol"
)

// A section may take as many frames as its size asks for, whatever max_request_headers_kb allows.
func TestLargeSectionsMayTakeManyFrames(t *testing.T) {
	s := start(t, ServerOptions{Options: Options{MaxHeaderBytes: 4 << 20}}, &handler{serve: func(_ context.Context, s protocol.Stream) {
		_ = s.Respond(reply(200, s.Request().Header.Get("large")[:3]))
	}}).greet()
	block := s.get("/", "large", strings.Repeat("\x7e", 2<<20)) // '~' takes more bits in Huffman's code: it is sent as it is
	_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:maxFrame], EndStream: true})
	for block = block[maxFrame:]; ; block = block[maxFrame:] {
		if len(block) <= maxFrame {
			_ = s.fr.WriteContinuation(1, true, block)
			break
		}
		_ = s.fr.WriteContinuation(1, false, block[:maxFrame])
	}
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; h == nil || h.body != "~~~" {
		t.Errorf("got %+v, %v", h, tr.last)
	}
}

// A client without a window cannot be told why its request is malformed; the connection must not wait for what it will not read.
func TestFatalRequestWithoutAWindowEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{}, &handler{serve: echo}).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		began := time.Now()
		s.head(1, true, s.block(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "connection", "close"))
		tr, dec := newTranscript()
		s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 })
		if took := time.Since(began); took != 0 || len(tr.goAways) == 0 || tr.goAways[0].ErrCode != http2.ErrCodeProtocol {
			t.Errorf("GOAWAY %v after %v, %v", tr.goAways, took, tr.last)
		}
		if h := tr.streams[1]; h == nil || h.get(":status") != "400" || h.reset == nil || *h.reset != http2.ErrCodeProtocol {
			t.Errorf("stream 1: %+v", h)
		}
		s.nc.Close()
		if err := s.wait(); !errors.Is(err, errMessaging) {
			t.Errorf("Serve returned %v", err)
		}
	})
}

func TestWhatIsMalformedBeforeItIsTooLargeIsMalformed(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo}).greet()
	s.head(1, true, append(s.get("/"), strings.Repeat("\x00\x00\x00", 4000)...)) // fields without a name (CVE-2019-9516)
	tr, dec := newTranscript()
	s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 })
	if h := tr.streams[1]; h == nil || h.get(":status") != "400" || len(tr.goAways) != 1 || tr.goAways[0].ErrCode != http2.ErrCodeProtocol {
		t.Errorf("answer %+v, GOAWAY %v", h, tr.goAways)
	}
}
