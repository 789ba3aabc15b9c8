package xds

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A load is clients that ask the same over and over, and expect an answer each time.
type load struct {
	clients sync.WaitGroup
	stop    chan struct{}
	once    sync.Once
	asked   atomic.Int64
	failed  atomic.Int64
}

// startLoad asks for URLs, each by clients of its own, on new connections and on those they have. Every answer has to be 200 with want.
func startLoad(t *testing.T, want string, urls ...string) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	for _, url := range urls {
		for _, fresh := range []bool{true, false} {
			l.clients.Go(func() { l.ask(t, url, want, fresh) }) // ends with stop
		}
	}
	t.Cleanup(l.end)
	return l
}

// end stops asking and waits.
func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	l.clients.Wait()
}

func (l *load) ask(t *testing.T, url, want string, fresh bool) {
	transport := &http.Transport{DisableKeepAlives: fresh}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: patience, Transport: transport}
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-pace.C:
		}
		got, _, err := fetch(client, url)
		l.asked.Add(1)
		if err != nil || !strings.Contains(got.body, want) {
			if l.failed.Add(1) < 10 {
				t.Errorf("%s: %v %+v", url, err, got)
			}
		}
	}
}

// check ends the load. There were requests, and none has failed.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.end()
	t.Logf("%d requests, %d failed", l.asked.Load(), l.failed.Load())
	if l.asked.Load() == 0 || l.failed.Load() > 0 {
		t.Error("no requests, or failed ones")
	}
}
