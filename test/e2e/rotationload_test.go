package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A load is clients that ask again and again, until they are stopped, and note what fails.
type load struct {
	t        *testing.T
	stop     chan struct{}
	running  sync.WaitGroup
	requests atomic.Int64
	failed   atomic.Int64
	ends     []func() error // in order, after stop
}

// run has f done again and again for a side, with pauses, until stop. Errors are the test's.
func (l *load) run(s *side, name string, pause time.Duration, f func() error) {
	l.running.Go(func() { // ends with stop
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			l.requests.Add(1)
			s.settling.RLock()
			err := f()
			s.settling.RUnlock()
			if err != nil {
				l.t.Errorf("%s: %s, request %d of all: %v", s.name, name, l.requests.Load(), err)
				if l.failed.Add(1) > 10 {
					return
				}
			}
		}
	})
}

// end stops the clients and waits for them.
func (l *load) end() {
	close(l.stop)
	l.running.Wait()
	for _, end := range l.ends {
		if err := end(); err != nil {
			l.t.Error(err)
		}
	}
}

// load starts clients on every side: some with connections that stay open throughout, of HTTP/1.1 and HTTP/2, a stream, and one that comes
// anew each time, and has Weft come to the upstream anew.
func (r *rotation) load(pause time.Duration) *load {
	r.Helper()
	l := &load{t: r.T, stop: make(chan struct{})}
	for _, s := range r.sides {
		for range 2 {
			c := r.visit(s)
			l.run(s, "HTTP/1.1", pause, func() error { return c.get("/steady") })
		}
		dials := 0 // guarded by the transport, which is dialed by one client at a time
		transport := &http2.Transport{
			TLSClientConfig: r.client("h2"),
			DialTLSContext: func(_ context.Context, network, addr string, cfg *tls.Config) (net.Conn, error) {
				if dials++; dials > 1 {
					return nil, fmt.Errorf("the connection is gone, and another one would be needed")
				}
				return tls.DialWithDialer(&net.Dialer{Timeout: patience}, network, addr, cfg)
			},
		}
		client := &http.Client{Transport: transport}
		chat := open(r.T, client, "https://"+s.listen)
		l.run(s, "HTTP/2", pause, func() error {
			got, err := fetchWithin(client, "https://"+s.listen+"/steady")
			if err == nil && got != "hello" {
				err = fmt.Errorf("%q", got)
			}
			return err
		})
		l.run(s, "stream", pause, func() error { return chat.exchange("a message", patience) })
		l.run(s, "newcomers", 4*pause, func() error {
			c, err := r.come(s, "http/1.1")
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }() // it was asked all it is to be asked
			return c.get("/fresh")
		})
		l.ends = append(l.ends, chat.end, func() error {
			transport.CloseIdleConnections()
			return nil
		})
	}
	return l
}

// fetchWithin is fetch with a limit.
func fetchWithin(c *http.Client, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// client is what a client of Weft knows.
func (r *rotation) client(protocol string) *tls.Config {
	return &tls.Config{ServerName: appName, RootCAs: r.root.Pool(), NextProtos: []string{protocol}}
}

// A visitor is a connection of HTTP/1.1, which is never opened again.
type visitor struct {
	*tls.Conn
	r *bufio.Reader
}

// come opens a connection to a side.
func (r *rotation) come(s *side, protocol string) (*visitor, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.listen, r.client(protocol))
	if err != nil {
		return nil, err
	}
	return &visitor{c, bufio.NewReader(c)}, nil
}

// visit is come for connections that stay as long as the test does.
func (r *rotation) visit(s *side) *visitor {
	r.Helper()
	c, err := r.come(s, "http/1.1")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Close() })
	return c
}

// serial is the number of the certificate that the visitor was shown.
func (v *visitor) serial() string {
	return v.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// ask sends a request and returns the answer, whose body was read.
func (v *visitor) ask(path string) (*http.Response, string, error) {
	if err := v.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, "", err
	}
	if _, err := fmt.Fprintf(v, "GET %s HTTP/1.1\r\nhost: %s\r\n\r\n", path, appName); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(v.r, nil)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	return resp, string(b), err
}

// get asks, and wants to be answered, on a connection that stays.
func (v *visitor) get(path string) error {
	resp, body, err := v.ask(path)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || body != "hello":
		return fmt.Errorf("%s: %s", resp.Status, body)
	case resp.Close:
		return fmt.Errorf("the connection is to be closed")
	}
	return nil
}

// new finds out whether a side has its current certificate in a new handshake with a client, and in one with its upstream.
func (r *rotation) new(s *side) (down, up bool, err error) {
	v, err := r.come(s, "http/1.1")
	if err != nil {
		return false, false, err
	}
	defer func() { _ = v.Close() }() // it was asked all it is to be asked
	resp, _, err := v.ask("/next")
	if err != nil {
		return false, false, err
	}
	up = resp.StatusCode == http.StatusOK && resp.Header.Get("x-serial") == s.client.Leaf.SerialNumber.String()
	return v.serial() == s.server.Leaf.SerialNumber.String(), up, nil
}
