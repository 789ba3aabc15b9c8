package http2

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/protocol"
)

func TestTheReaderWaitsForHandlersOfResetStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 40
		began, release := make(chan struct{}, streams), make(chan struct{})
		s := startInMemory(t, ServerOptions{}, &handler{serve: func(_ context.Context, st protocol.Stream) {
			began <- struct{}{}
			<-release // as a filter does that does not notice at once
			_ = st.Respond(reply(200, ""))
		}}).greet()
		go func() { // ends with the last frame, or with the connection
			for id := uint32(1); id < 2*streams; id += 2 {
				s.head(id, true, s.get("/"))
				if s.fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := len(began); n != mostLeftovers+1 {
			t.Errorf("%d handlers at work for streams that were reset, want %d", n, mostLeftovers+1)
		}
		time.Sleep(catchUpTime) // and no longer: a handler that hangs does not hang the connection
		synctest.Wait()
		if n := len(began); n != mostLeftovers+2 {
			t.Errorf("%d handlers at work after a wait, want %d", n, mostLeftovers+2)
		}
		close(release)
		synctest.Wait()
		if n := len(began); n != streams {
			t.Errorf("%d handlers for %d streams", n, streams)
		}
	})
}
