package secret

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

func TestAStoreWithoutFilesRunsInATestsOwnTime(t *testing.T) {
	from := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when bubbles begin
	m := inlined(must(ca().Issue(certs.Request{Name: "a", NotBefore: from, NotAfter: from.AddDate(50, 0, 0)})))
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }() // ends with cancel
		if s.View().KeyPair(m, "c", &resource.Problems{}) == nil {
			t.Fatal("refused")
		}
		time.Sleep(time.Hour) // of the bubble: it would never end if something real were waited for
		for range 3 {
			runtime.GC() // what is gone is forgotten outside of the bubble
		}
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
