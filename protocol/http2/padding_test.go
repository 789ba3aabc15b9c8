package http2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// An allowance is what a sender may send, as far as it knows.
type allowance struct{ stream, conn int64 }

// padded sends n DATA frames of one byte and the longest padding, as far as w allows. It reports whether all were sent.
func padded(fr *http2.Framer, id uint32, n int, w *allowance, more func() bool) bool {
	pad := make([]byte, 255)
	for range n {
		for w.stream < 257 || w.conn < 257 {
			if !more() {
				return false
			}
		}
		w.stream, w.conn = w.stream-257, w.conn-257
		if fr.WriteDataPadded(id, false, []byte("x"), pad) != nil {
			return false
		}
	}
	return fr.WriteData(id, true, []byte("x")) == nil
}

// take adds what a frame gives.
func (w *allowance) take(id uint32, inc uint32) {
	if id == 0 {
		w.conn += int64(inc)
	} else {
		w.stream += int64(inc)
	}
}

// mostPadded is enough padding to fill the windows many times, with little data.
const mostPadded = 2000

func TestPaddingOfRequestsIsGivenBack(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo}).greet()
	s.head(1, false, s.get("/"))
	w := &allowance{65535, 65535}
	if !padded(s.fr, 1, mostPadded, w, func() bool {
		f, err := s.fr.ReadFrame()
		if u, ok := f.(*http2.WindowUpdateFrame); ok && err == nil {
			w.take(u.StreamID, u.Increment)
		}
		return err == nil
	}) {
		t.Fatalf("the windows stay closed: stream %d, connection %d", w.stream, w.conn)
	}
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; h == nil || strings.Count(h.body, "x") != mostPadded+1 {
		t.Errorf("got %+v, %v", h, tr.last)
	}
}

func TestPaddingOfResponsesIsGivenBack(t *testing.T) {
	s, _, _ := open(t, ClientOptions{}, func(o *origin) {
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "200")
		w := &allowance{65535, DefaultConnWindow} // what the client begins with
		padded(o.fr, id, mostPadded, w, func() bool {
			u := o.await(http2.FrameWindowUpdate)
			w.take(u.id, u.inc)
			return u.inc > 0
		})
		_, _ = o.next()
	})
	if _, body, _, err := attempt(s, request("GET", "/", "")); err != nil || len(body) != mostPadded+1 {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
}

func TestFramesOfPaddingAloneAreAFlood(t *testing.T) {
	for _, tt := range []struct {
		name string
		pad  int
	}{{"none", 0}, {"little", 1}, {"all there can be", 255}} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{}, &handler{serve: hold}).greet()
			s.head(1, false, s.get("/"))
			for range 2 {
				_ = s.fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, append([]byte{byte(tt.pad)}, make([]byte, tt.pad)...))
			}
			tr, dec := newTranscript()
			s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 })
			if len(tr.goAways) == 0 || tr.goAways[0].ErrCode != http2.ErrCodeEnhanceYourCalm || s.stats.InboundEmptyFlood.Value() != 1 {
				t.Errorf("GOAWAY %v, flood %d, %v", tr.goAways, s.stats.InboundEmptyFlood.Value(), tr.last)
			}
		})
	}
}

func TestPaddedEndOfStreamIsNoFlood(t *testing.T) {
	s := start(t, ServerOptions{}, &handler{serve: echo}).greet()
	for id := uint32(1); id < 20; id += 2 {
		s.head(id, false, s.get("/"))
		_ = s.fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded|http2.FlagDataEndStream, id, []byte{3, 0, 0, 0})
		tr, dec := newTranscript()
		s.hear(tr, dec, over(id))
		if h := tr.streams[id]; h == nil || !h.ended {
			t.Fatalf("stream %d: %+v, %v", id, h, tr.last)
		}
	}
}
