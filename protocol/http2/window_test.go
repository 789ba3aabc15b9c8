package http2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/protocol"
)

// received is how much of a stream's body has come when nothing more does.
func (s *served) received(id uint32) int {
	n := 0
	done := make(chan struct{})
	go func() { // ends at the PING's answer, which comes behind everything else
		defer close(done)
		for {
			f, err := s.fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				if f.StreamID == id {
					n += len(f.Data())
				}
			case *http2.PingFrame:
				return
			}
		}
	}()
	synctest.Wait()
	_ = s.fr.WritePing(false, [8]byte{})
	<-done
	return n
}

func TestResponsesKeepToTheWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, ServerOptions{}, &handler{serve: large}).greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
		s.head(1, true, s.get("/"))
		step := func(name string, want int, do func()) {
			t.Helper()
			do()
			if got := s.received(1); got != want {
				t.Errorf("%s: %d bytes, want %d", name, got, want)
			}
		}
		setting := func(v uint32) func() {
			return func() { _ = s.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: v}) }
		}
		step("initial", 1000, func() {})
		step("stream", 500, func() { _ = s.fr.WriteWindowUpdate(1, 500) })
		step("setting raised", 1000, setting(2000))
		step("setting lowered", 0, setting(500)) // the window is -1500
		step("still negative", 0, func() { _ = s.fr.WriteWindowUpdate(1, 1500) })
		step("positive again", 100, func() { _ = s.fr.WriteWindowUpdate(1, 100) })
		step("the connection's", defaultWindow-2600, func() { _ = s.fr.WriteWindowUpdate(1, 1<<30) })
		step("the connection's, more", 7, func() { _ = s.fr.WriteWindowUpdate(0, 7) })
		step("the rest", 1<<20-defaultWindow-7, func() { _ = s.fr.WriteWindowUpdate(0, 1<<30) })
	})
}

func TestFramesAreNoLargerThanThePeerAllows(t *testing.T) {
	for _, most := range []uint32{maxFrame, 20000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			s := start(t, ServerOptions{}, &handler{serve: large}).greet(
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: most})
			_ = s.fr.WriteWindowUpdate(0, 1<<30)
			s.head(1, true, s.get("/"))
			for {
				f, err := s.fr.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				if f.Header().Length > most {
					t.Errorf("a frame of %d bytes", f.Header().Length)
				}
				if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
					return
				}
			}
		})
	}
}

func TestRequestBodyIsTakenOnlyAsItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		s := startInMemory(t, ServerOptions{Options: Options{StreamWindow: 65535, ConnWindow: 65535}}, &handler{serve: func(ctx context.Context, st protocol.Stream) {
			if st.Request().Path == "/now" {
				echo(ctx, st)
				return
			}
			<-read
			echo(ctx, st)
		}}).greet()
		s.head(1, false, s.get("/"))
		for range 3 {
			_ = s.fr.WriteData(1, false, make([]byte, maxFrame))
		}
		tr, dec := newTranscript()
		s.head(3, true, s.get("/now")) // a stream that nobody reads does not stop another
		s.hear(tr, dec, over(3))
		updates := map[uint32]uint32{}
		go func() { synctest.Wait(); close(read) }() // ends at once
		for updates[0] == 0 || updates[1] == 0 {
			f, err := s.fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := f.(*http2.WindowUpdateFrame); ok {
				updates[w.StreamID] += w.Increment
			}
		}
		if updates[0] != 3*maxFrame || updates[1] != 3*maxFrame {
			t.Errorf("updates %v", updates)
		}
	})
}

func TestPeerThatExceedsAWindow(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		n    int
		code http2.ErrCode
		away bool
	}{
		{"of the stream", Options{StreamWindow: 65535, ConnWindow: 1 << 20, StreamErrors: true}, 5, http2.ErrCodeFlowControl, false},
		{"of the connection", Options{StreamWindow: 1 << 20, ConnWindow: 65535}, 5, http2.ErrCodeFlowControl, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ServerOptions{Options: tt.o}, &handler{serve: hold}).greet()
			s.head(1, false, s.get("/"))
			for range tt.n {
				_ = s.fr.WriteData(1, false, make([]byte, maxFrame))
			}
			tr, dec := newTranscript()
			s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 || over(1)(tr) })
			if tt.away != (len(tr.goAways) == 1) || tt.away && tr.goAways[0].ErrCode != tt.code {
				t.Errorf("GOAWAY %v", tr.goAways)
			}
			if h := tr.streams[1]; !tt.away && (h == nil || h.reset == nil || *h.reset != tt.code) {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestDataSentBeforeSettingsWereSeenIsWithinTheWindow(t *testing.T) {
	s := start(t, ServerOptions{Options: Options{StreamWindow: 1 << 14}}, &handler{serve: echo}).greet() // RFC 9113 section 6.9.3
	s.head(1, false, s.get("/"))
	body := strings.Repeat("x", 40_000)
	_ = s.fr.WriteData(1, false, []byte(body[:maxFrame]))
	_ = s.fr.WriteData(1, false, []byte(body[:maxFrame]))
	_ = s.fr.WriteData(1, true, []byte(body[2*maxFrame:]))
	tr, dec := newTranscript()
	s.hear(tr, dec, over(1))
	if h := tr.streams[1]; h == nil || !strings.HasSuffix(h.body, "\n"+body) {
		t.Errorf("reset %v", h.reset)
	}
}

func TestSlowReaderOfOneResponseDoesNotStopOthers(t *testing.T) {
	opened := make(chan struct{})
	s, own, _ := open(t, ClientOptions{Options: Options{StreamWindow: 65535, ConnWindow: 65535}}, func(o *origin) {
		defer close(opened)
		slow := o.await(http2.FrameHeaders).id
		o.head(slow, false, ":status", "200")
		for range 3 {
			o.data(slow, false, strings.Repeat("x", maxFrame))
		}
		for window := 65535 - 3*maxFrame; window < 65535/2; { // until the connection's window is open again
			f := o.await(http2.FrameWindowUpdate)
			if f.kind != http2.FrameWindowUpdate || f.id != 0 {
				return
			}
			window += int(f.inc)
		}
		o.data(slow, true, "end")
		opened <- struct{}{}
		id := o.await(http2.FrameHeaders).id
		o.head(id, false, ":status", "200")
		o.data(id, true, "quick")
		_, _ = o.next()
	})
	slow, err := s.RoundTrip(context.Background(), request("GET", "/slow", ""))
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	if _, body, _, err := attempt(s, request("GET", "/", "")); err != nil || body != "quick" {
		t.Errorf("got %q, %v", body, err)
	}
	if got := consume(t, slow); len(got) != 3*maxFrame+3 {
		t.Errorf("%d bytes", len(got))
	}
	own.await(t, func(o *owner) bool { return o.freed == 2 })
}

func TestCancelWhileTheWindowIsShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := make(chan sent, 1)
		s, own, _ := openInMemory(t, ClientOptions{}, func(o *origin) {
			for n := 0; n < defaultWindow; {
				f := o.await(http2.FrameData)
				if f.data == "" {
					return
				}
				n += len(f.data)
			}
			reset <- o.await(http2.FrameRSTStream)
		})
		ctx, cancel := context.WithCancelCause(context.Background())
		errs := make(chan error, 1)
		go func() { // ends with the call
			_, err := s.RoundTrip(ctx, request("POST", "/", strings.Repeat("x", 1<<20)))
			errs <- err
		}()
		synctest.Wait()
		why := errors.New("enough")
		cancel(why)
		if err := <-errs; err != why {
			t.Errorf("RoundTrip: %v", err)
		}
		if f := <-reset; f.code != http2.ErrCodeCancel {
			t.Errorf("reset %+v", f)
		}
		own.await(t, func(o *owner) bool { return o.freed == 1 })
	})
}
