package xds

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
)

// originsOf starts hosts, each of which answers with its number, and returns their addresses.
func originsOf(t *testing.T, n int) []string {
	t.Helper()
	numbers := map[string]string{}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, _ = w.Write([]byte(numbers[local.String()])) // an error is the proxy's to tell
	})}
	all := make([]net.Listener, n)
	addresses := make([]string, n)
	for i := range all {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all[i], addresses[i] = ln, ln.Addr().String()
		numbers[addresses[i]] = strconv.Itoa(i)
	}
	ended := make(chan error, n)
	for _, ln := range all {
		go func() { ended <- s.Serve(ln) }() // ends with Close
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
		for range all {
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	})
	return addresses
}

// metric reads a counter or gauge of the process.
func (m *mesh) metric(name string) int {
	m.t.Helper()
	status, body := m.ask("GET", "http://"+m.at.Admin+"/stats?filter=^"+name+"$")
	var n int
	if _, err := fmt.Sscanf(body, name+": %d", &n); status != http.StatusOK || err != nil {
		m.t.Fatalf("%s: %d %q", name, status, body)
	}
	return n
}

// warm waits until nothing warms.
func (m *mesh) warm() {
	m.t.Helper()
	m.eventually("everything is warm", func() bool {
		return m.metric("cluster_manager.warming_clusters")+m.metric("listener_manager.total_listeners_warming") == 0
	})
}
