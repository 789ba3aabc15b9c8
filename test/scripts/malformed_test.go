package scripts

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// malformedConfig sends /healthy to one upstream and all the rest to another.
func malformedConfig() string {
	return kit.HTTP{
		Upstreams: []string{"a", "healthy"},
		Routes:    "- {match: {path: /healthy}, route: {cluster: healthy}}\n- {match: {prefix: /}, route: {cluster: a}}",
	}.YAML()
}

// TestMalformedRequestsReachNoUpstream sends every group of hostile input. It shows what the client gets, that the upstream sees
// nothing, and that another connection goes on working meanwhile. What is forwarded after all must mean the same to net/http.
func TestMalformedRequestsReachNoUpstream(t *testing.T) {
	for group, cases := range malformedGroups() {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			lab := kit.New(t)
			lab.Start(malformedConfig())
			healthy := lab.Dial("main")
			for _, c := range cases {
				if err := tryMalformed(lab, c); err != nil {
					t.Errorf("%s: %q: %v", c.name, clip(c.in), err)
				}
				if err := healthy.Send([]byte("GET /healthy HTTP/1.1\r\nhost: a\r\n\r\n")); err != nil {
					t.Fatalf("after %s: %v", c.name, err)
				}
				if m, err := healthy.Response(); err != nil || m.Status() != 200 || m.Err != nil {
					t.Fatalf("after %s the healthy connection gets %v, %v", c.name, m, err)
				}
			}
		})
	}
}

// TestMalformedRequestAfterASoundOneIsRefused pipelines each input behind a sound request: that one is answered, and nothing of
// the other gets upstream.
func TestMalformedRequestAfterASoundOneIsRefused(t *testing.T) {
	lab := kit.New(t)
	lab.Start(malformedConfig())
	up := lab.Upstream("a")
	for group, cases := range malformedGroups() {
		for _, c := range cases {
			if c.want == "ok" {
				continue
			}
			client := lab.Dial("main")
			before, _ := up.Received()
			// A refusal may close the connection before everything was sent.
			_ = client.Send([]byte("GET /healthy HTTP/1.1\r\nhost: a\r\n\r\n" + c.in))
			if m, err := client.Response(); err != nil || m.Status() != 200 {
				t.Errorf("%s: %s: the sound request gets %v, %v", group, c.name, m, err)
				continue
			}
			_ = client.CloseWrite() // the peer may have closed
			if m, err := client.Response(); err == nil && m.Status() < 400 {
				t.Errorf("%s: %s: the malformed request gets %s", group, c.name, m.Start)
			}
			if err := unseen(up, before); err != nil {
				t.Errorf("%s: %s: %v", group, c.name, err)
			}
			_ = client.Close() // perhaps closed already
		}
	}
}

func clip(s string) string {
	const most = 300
	return s[:min(len(s), most)]
}

// tryMalformed sends the input on a connection of its own.
func tryMalformed(lab *kit.Lab, c malformed) error {
	up := lab.Upstream("a")
	before, _ := up.Received()
	client := lab.Dial("main")
	defer func() { _ = client.Close() }() // perhaps closed already
	_ = client.Send([]byte(c.in))         // a refusal may close the connection before everything was sent
	m, err := client.Response()
	status, kept := strings.CutSuffix(c.want, " kept")
	switch {
	case c.want == "ok":
		return forwarded(up, c, m, err)
	case err != nil && c.want != "refused":
		return fmt.Errorf("no response: %w", err)
	case err == nil && c.want != "refused" && fmt.Sprint(m.Status()) != status:
		return fmt.Errorf("got %s, want %s", m.Start, c.want)
	case err == nil && (m.Status() < 400 || m.Err != nil):
		return fmt.Errorf("got %s, broken: %v", m.Start, m.Err)
	}
	if err == nil && !kept {
		if _, err := client.End(); err != nil {
			return fmt.Errorf("the connection goes on: %w", err)
		}
	}
	return unseen(up, before)
}

// unseen checks that the upstream has got no byte, or at most the head of a request whose body is refused later: never a whole one.
func unseen(up *kit.Upstream, before int64) error {
	for len(up.Left()) > 0 {
		m, err := up.Next()
		if err != nil {
			return err
		}
		if m.Err == nil {
			return fmt.Errorf("the upstream saw %q", m.Raw)
		}
	}
	if after, _ := up.Received(); after != before && after-before > 1<<10 {
		return fmt.Errorf("the upstream saw %d bytes", after-before)
	}
	return nil
}

// forwarded checks that what the upstream saw is exactly one request with the right body to another parser as well.
func forwarded(up *kit.Upstream, c malformed, m *kit.Message, err error) error {
	if err != nil || m.Status() != 200 {
		return fmt.Errorf("got %v, %v", m, err)
	}
	saw, err := up.Next()
	if err != nil {
		return err
	}
	br := bufio.NewReader(bytes.NewReader(saw.Raw))
	r, err := http.ReadRequest(br)
	if err != nil {
		return fmt.Errorf("net/http: %w in %q", err, saw.Raw)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != c.body || string(saw.Body) != c.body {
		return fmt.Errorf("net/http reads body %q, %v in %q", body, err, saw.Raw)
	}
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		return fmt.Errorf("%q is left, %v", rest, err)
	}
	if left := up.Left(); len(left) > 0 {
		return fmt.Errorf("the upstream saw a second request: %q", left[0].Raw)
	}
	return nil
}
