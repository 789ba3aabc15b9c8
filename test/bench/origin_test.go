//go:build linux

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// startOrigin offers s on a free port until the test ends.
func startOrigin(t *testing.T, s service) string {
	t.Helper()
	addrs, err := new(ports).free(1)
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOrigin()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.listen(s, addrs[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("origin does not stop")
		}
	})
	return addrs[0]
}

func dialOrigin(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOriginAnswersOnOneConnection(t *testing.T) {
	c := dialOrigin(t, startOrigin(t, serviceHTTP1))
	in := bufio.NewReader(c)
	body := strings.Repeat("b", 16<<10)
	for _, x := range []struct {
		name  string
		parts []string
		size  int64
		close bool
	}{
		{"small", []string{"GET /100 HTTP/1.1\r\nHost: a\r\n\r\n"}, 100, false},
		{"large needs several writes", []string{"GET /1m HTTP/1.1\r\nHost: a\r\n\r\n"}, 1 << 20, false},
		{"head in pieces", []string{"GET /64k HT", "TP/1.1\r\nHost: a\r\n", "\r\n"}, 64 << 10, false},
		{"body with head", []string{"POST / HTTP/1.1\r\ncontent-length: 16384\r\n\r\n" + body}, 100, false},
		{"body in pieces", []string{"POST / HTTP/1.1\r\nContent-Length: 16384\r\n\r\n", body[:10000], body[10000:]}, 100, false},
		{"empty body", []string{"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"}, 100, false},
		{"close", []string{"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n"}, 100, true},
	} {
		for _, part := range x.parts {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != x.size || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %d bytes, %v; want %d", x.name, resp.Status, n, err, x.size)
		}
		if x.close {
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("%s: connection stays open: %v", x.name, err)
			}
		}
	}
}

func TestOriginAnswersTwoRequestsInOneRead(t *testing.T) {
	c := dialOrigin(t, startOrigin(t, serviceHTTP1))
	if _, err := io.WriteString(c, strings.Repeat("GET /100 HTTP/1.1\r\nHost: a\r\n\r\n", 2)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for range 2 {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 100 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
}

func TestOriginRefusesWhatItCannotCount(t *testing.T) {
	c := dialOrigin(t, startOrigin(t, serviceHTTP1))
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusLengthRequired {
		t.Fatalf("%v, %v; want 411", resp, err)
	}
}

func TestCrowdCountsConnectionsThatDied(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // one answer a connection, then it closes every second one
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for n := 0; n < 1+i%2; n++ {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = c.Write(response("200 OK", 100))
				}
			}()
		}
	}()
	g := gather(t.Context(), l.Addr().String(), 10, h1Visitor)
	defer g.close()
	if g.failed != 0 {
		t.Fatalf("%d of 10 first requests failed", g.failed)
	}
	if g.askAgain(t.Context()); g.failed != 5 {
		t.Errorf("%d connections failed, want 5", g.failed)
	}
}

func TestStreamsArriveWhole(t *testing.T) {
	addrs, err := new(ports).free(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := serveStreams(ctx, addrs[0]); err != nil {
		t.Fatal(err)
	}
	if n, err := receiveStreams(ctx, addrs[0], 3, 3<<20); err != nil || n != 3<<20 {
		t.Errorf("received %d, %v", n, err)
	}
}

func TestAStreamThatEndsEarlyIsAnError(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = c.Write(make([]byte, 1000))
	}()
	if n, err := receiveStreams(t.Context(), l.Addr().String(), 1, 2000); err == nil || n != 1000 {
		t.Errorf("received %d, %v; want an error after 1000", n, err)
	}
}
