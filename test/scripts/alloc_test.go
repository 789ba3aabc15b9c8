package scripts

import (
	"net"
	"testing"
	"time"

	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/test/kit"
)

// TestAllocationsOfAProxiedGet counts what the whole proxy allocates for a keep-alive GET from HTTP/1 to HTTP/1, statistics and access
// log on. The client and the upstream of this test reuse their buffers, so everything counted is Weft's.
func TestAllocationsOfAProxiedGet(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go answerAlways(origin, done)
	t.Cleanup(func() { origin.Close(); <-done })

	host, port, _ := net.SplitHostPort(origin.Addr().String())
	lab := kit.New(t)
	w := lab.Start(kit.HTTP{Clusters: `- name: a
  type: STATIC
  load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: ` + host + `, port_value: ` + port + `}}}}]}]}`}.YAML())
	addr, err := w.Addr("main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))

	request := []byte("GET /index.html HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 4096)
	get := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); err != nil || string(buf[:15]) != "HTTP/1.1 200 OK" {
			t.Fatalf("got %q, %v", buf[:n], err)
		}
	}
	for range 100 {
		get()
	}
	if n := testing.AllocsPerRun(2000, get); n != 0 {
		t.Errorf("%v heap allocations a request, want 0", n)
	}
}

// answerAlways answers every read on its one connection with a small response, until the peer closes it.
func answerAlways(l net.Listener, done chan<- struct{}) {
	defer close(done)
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	response := []byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := c.Write(response); err != nil {
			return
		}
	}
}
