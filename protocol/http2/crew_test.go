package http2

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/protocol"
)

// workers counts the goroutines that serve streams, or wait for one.
func workers() int {
	b := make([]byte, 1<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "http2.(*serving).work(")
}

func TestWorkersAreReusedAndLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		s := startInMemory(t, ServerOptions{}, &handler{serve: func(ctx context.Context, st protocol.Stream) {
			if st.Request().Path == "/wait" {
				<-open
			}
			echo(ctx, st)
		}}).greet()
		tr, dec := newTranscript()
		for id := uint32(1); id < 20; id += 2 {
			s.head(id, true, s.get("/"))
			s.hear(tr, dec, over(id))
			synctest.Wait()
		}
		if n := workers(); n != 1 {
			t.Errorf("%d workers for one stream after the other", n)
		}
		for id := uint32(21); id < 31; id += 2 {
			s.head(id, true, s.get("/wait"))
		}
		synctest.Wait()
		if n := workers(); n != 5 {
			t.Errorf("%d workers for 5 streams", n)
		}
		close(open)
		s.hear(tr, dec, over(21, 23, 25, 27, 29))
		time.Sleep(4 * time.Duration(restTime))
		synctest.Wait()
		if n := workers(); n != 0 {
			t.Errorf("%d workers after a rest", n)
		}
		s.head(31, true, s.get("/"))
		s.hear(tr, dec, over(31))
	})
}
