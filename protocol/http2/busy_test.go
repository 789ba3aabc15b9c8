package http2

import (
	"context"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/protocol"
)

// TestConnectionMayEndWhileStreamsWrite ends connections by a fault of the peer's while handlers write as fast as they can.
func TestConnectionMayEndWhileStreamsWrite(t *testing.T) {
	piece := strings.Repeat("x", 100)
	for range 20 {
		s := start(t, ServerOptions{}, &handler{serve: func(_ context.Context, s protocol.Stream) {
			_ = s.Respond(trickle(piece, 1<<14))
		}}).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = s.fr.WriteWindowUpdate(0, 1<<30)
		for id := uint32(1); id < 20; id += 2 {
			s.head(id, true, s.get("/"))
		}
		var away *http2.GoAwayFrame
		for n := 0; ; n++ {
			f, err := s.fr.ReadFrame()
			if err != nil {
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				away = &http2.GoAwayFrame{ErrCode: g.ErrCode}
			}
			if n == 30 {
				_ = s.fr.WriteData(0, true, []byte("x"))
			}
		}
		if away == nil || away.ErrCode != http2.ErrCodeProtocol {
			t.Fatalf("GOAWAY %v, Serve: %v", away, s.wait())
		}
		_ = s.wait()
	}
}
