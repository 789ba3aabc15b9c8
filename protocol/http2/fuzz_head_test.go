package http2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/protocol"
)

// A line is a field as it is sent.
type line struct{ name, value string }

// A requestHead is the header section of a request without a body: "name value" on each line of a fuzz input.
type requestHead []line

func parseHead(in []byte) requestHead {
	var h requestHead
	for l := range strings.SplitSeq(string(in), "\n") {
		name, value, _ := strings.Cut(l, " ")
		h = append(h, line{name, value})
	}
	return h
}

// values are those of the fields with that name, and value is the first of them.
func (h requestHead) values(name string) (all []string) {
	for _, l := range h {
		if l.name == name {
			all = append(all, l.value)
		}
	}
	return all
}

func (h requestHead) value(name string) string {
	return strings.Join(h.values(name)[:min(1, len(h.values(name)))], "")
}

func (h requestHead) has(name string) bool { return len(h.values(name)) > 0 }

// authority is what the request is for.
func (h requestHead) authority() string {
	if a := h.value(":authority"); a != "" {
		return a
	}
	return h.value("host")
}

func (h requestHead) plainConnect() bool {
	return h.value(":method") == "CONNECT" && !h.has(":protocol")
}

// frame is the HEADERS frame; false when one does not hold it.
func (h requestHead) frame() ([]byte, bool) {
	var block, frame bytes.Buffer
	enc := xhpack.NewEncoder(&block)
	for _, l := range h {
		_ = enc.WriteField(xhpack.HeaderField{Name: l.name, Value: l.value})
	}
	p := http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}
	_ = http2.NewFramer(&frame, nil).WriteHeaders(p)
	return frame.Bytes(), block.Len() <= maxFrame
}

// size is what the limits count (RFC 9113 section 10.5.1).
func (h requestHead) size() (n int) {
	for _, l := range h {
		n += len(l.name) + len(l.value) + 32
	}
	return n
}

// A reason is why Weft and net/http differ about a head.
type reason struct {
	name    string // of the difference, and the section that speaks for Weft
	example string
	applies func(h requestHead) bool
}

// outside reports whether a byte of s is not among the allowed ones.
func outside(s string, allowed func(c byte) bool) bool {
	return slices.ContainsFunc([]byte(s), func(c byte) bool { return !allowed(c) })
}

func alphanumeric(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }

func tchar(c byte) bool { return alphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 }

func visible(c byte) bool { return c > ' ' && c < 0x7f }

// stricter are the reasons for which Weft refuses what net/http may accept.
func stricter() []reason {
	return []reason{
		{
			"whitespace around a value: RFC 9113 section 8.2.1", ":method GET\n:scheme http\n:authority a\n:path /\nx  y",
			func(h requestHead) bool {
				return slices.ContainsFunc(h, func(l line) bool { return strings.Trim(l.value, " \t") != l.value })
			},
		}, {
			"a method that is no token: RFC 9110 section 9.1", ":method G T\n:scheme http\n:authority a\n:path /",
			func(h requestHead) bool { return outside(h.value(":method"), tchar) },
		}, {
			"a path with what a URI has no room for: RFC 3986 section 2", ":method GET\n:scheme http\n:authority a\n:path /\xc3\xa4 b",
			func(h requestHead) bool { return outside(h.value(":path"), visible) },
		}, {
			"a path without a slash: RFC 9113 section 8.3.1", ":method GET\n:scheme http\n:authority a\n:path http://b/",
			func(h requestHead) bool {
				asterisk := h.value(":path") == "*" && h.value(":method") == "OPTIONS"
				return h.has(":path") && !strings.HasPrefix(h.value(":path"), "/") && !asterisk
			},
		}, {
			"CONNECT with an empty path or scheme: RFC 9113 section 8.5", ":method CONNECT\n:scheme \n:authority a:1",
			func(h requestHead) bool { return h.plainConnect() && (h.has(":scheme") || h.has(":path")) },
		}, {
			"host and :authority differ: RFC 9113 section 8.3.1", ":method GET\n:scheme http\n:authority a\n:path /\nhost b",
			func(h requestHead) bool {
				return h.value(":authority") != "" && h.has("host") && !strings.EqualFold(h.value("host"), h.value(":authority"))
			},
		}, {
			"two hosts: RFC 9110 section 7.2", ":method GET\n:scheme http\n:path /\nhost a\nhost a",
			func(h requestHead) bool { return len(h.values("host")) > 1 },
		}, {
			"an empty authority: RFC 9110 section 4.2.1", ":method GET\n:scheme http\n:authority \n:path /",
			func(h requestHead) bool { return (h.has(":authority") || h.has("host")) && h.authority() == "" },
		}, {
			"an authority with what a host has no room for: RFC 3986 section 3.2", ":method GET\n:scheme http\n:authority a/b\n:path /",
			func(h requestHead) bool {
				return outside(h.authority(), func(c byte) bool { return alphanumeric(c) || strings.IndexByte("-._~%!$&'()*+,;=:[]", c) >= 0 })
			},
		}, {
			"a content-length that is no number: RFC 9110 section 8.6", ":method GET\n:scheme http\n:authority a\n:path /\ncontent-length -0",
			func(h requestHead) bool {
				n := h.value("content-length")
				return h.has("content-length") && (n == "" || outside(n, func(c byte) bool { return c >= '0' && c <= '9' }))
			},
		}, {
			"a content-length and no content: RFC 9113 section 8.1.1", ":method GET\n:scheme http\n:authority a\n:path /\ncontent-length 1",
			func(h requestHead) bool { return strings.Trim(h.value("content-length"), "0") != "" },
		}, {
			"two content-lengths: RFC 9110 section 8.6", ":method GET\n:scheme http\n:authority a\n:path /\ncontent-length 0\ncontent-length 0",
			func(h requestHead) bool { return len(h.values("content-length")) > 1 },
		}, {
			"an empty te: RFC 9113 section 8.2.2", ":method GET\n:scheme http\n:authority a\n:path /\nte ",
			func(h requestHead) bool { return slices.Contains(h.values("te"), "") },
		}, {
			"an empty :protocol: RFC 8441 section 4", ":method GET\n:scheme http\n:authority a\n:path /\n:protocol ",
			func(h requestHead) bool { return h.has(":protocol") && h.value(":protocol") == "" },
		}, {
			"limits of the header section: RFC 9113 section 10.5.1",
			":method GET\n:scheme http\n:authority a\n:path /" + strings.Repeat("\nx y", DefaultMaxHeaders),
			func(h requestHead) bool { return len(h) > DefaultMaxHeaders || h.size() > DefaultMaxHeaderBytes },
		},
	}
}

// looser are the reasons for which Weft may accept what net/http refuses.
func looser() []reason {
	return []reason{
		{
			"another scheme: RFC 9113 section 8.3.1", ":method GET\n:scheme ftp\n:authority a\n:path /",
			func(h requestHead) bool {
				return h.value(":method") != "CONNECT" && h.value(":scheme") != "http" && h.value(":scheme") != "https"
			},
		}, {
			"extended CONNECT: RFC 8441 section 4", ":method CONNECT\n:scheme http\n:authority a\n:path /\n:protocol websocket",
			func(h requestHead) bool { return h.value(":protocol") != "" },
		}, {
			"te twice: RFC 9110 section 5.3", ":method GET\n:scheme http\n:authority a\n:path /\nte trailers\nte trailers",
			func(h requestHead) bool { return len(h.values("te")) > 1 },
		}, {
			"a path with % as a byte of its own, which the codec passes on: RFC 3986 section 2.4",
			":method GET\n:scheme http\n:authority a\n:path /%zz",
			func(h requestHead) bool {
				path, _, _ := strings.Cut(h.value(":path"), "?")
				return strings.HasPrefix(path, "/") && badEscape(path)
			},
		},
	}
}

func badEscape(path string) bool {
	const hex = "0123456789abcdefABCDEF"
	for i := range len(path) {
		if path[i] == '%' && (len(path) < i+3 || !strings.Contains(hex, path[i+1:i+2]) || !strings.Contains(hex, path[i+2:i+3])) {
			return true
		}
	}
	return false
}

// understood is a request as a server's handler got it, nil for one that was refused.
type understood struct {
	method, authority, path string
	header                  map[string][]string
}

func (u *understood) String() string {
	if u == nil {
		return "refused"
	}
	return fmt.Sprintf("%s %q %q %q", u.method, u.authority, u.path, u.header)
}

// weftUnderstands serves a head with Weft.
func weftUnderstands(t *testing.T, frame []byte) (got *understood) {
	t.Helper()
	var mu sync.Mutex
	h := newSeen()
	h.serve = func(_ context.Context, s protocol.Stream) {
		r := s.Request()
		u := &understood{strings.Clone(r.Method), strings.Clone(r.Authority), strings.Clone(r.Path), map[string][]string{}}
		for name, value := range r.Header.All() {
			name = strings.Clone(name)
			u.header[name] = append(u.header[name], strings.Clone(value))
		}
		mu.Lock()
		got = u
		mu.Unlock()
		_ = s.Respond(reply(200, ""))
	}
	out := replay(t, append(greeting(), frame...), h, ServerOptions{Options: Options{StreamErrors: true, AllowConnect: true}})
	if _, away := wellFormed(t, out); away != nil && *away != http2.ErrCodeNo {
		t.Errorf("the connection ended with %v", *away)
	}
	mu.Lock()
	defer mu.Unlock()
	return got
}

// A netHTTP is net/http's server on connections in memory.
type netHTTP struct {
	http.Server

	lent chan net.Conn
	over chan struct{}
	mu   sync.Mutex
	got  *understood // guarded by mu
}

func newNetHTTP(t testing.TB) *netHTTP {
	g := &netHTTP{lent: make(chan net.Conn), over: make(chan struct{})}
	g.ErrorLog = log.New(io.Discard, "", 0)
	g.DisableGeneralOptionsHandler = true
	g.Protocols = &http.Protocols{}
	g.Protocols.SetUnencryptedHTTP2(true)
	g.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		u := &understood{r.Method, r.Host, r.RequestURI, map[string][]string{}}
		for name, values := range r.Header {
			u.header[strings.ToLower(name)] = values
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.got = u
	})
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = g.Serve(g)
	}()
	t.Cleanup(func() {
		_ = g.Server.Close()
		<-done
	})
	return g
}

func (g *netHTTP) Accept() (net.Conn, error) {
	select {
	case c := <-g.lent:
		return c, nil
	case <-g.over:
		return nil, net.ErrClosed
	}
}

func (g *netHTTP) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Close ends the listener that it is.
func (g *netHTTP) Close() error {
	close(g.over)
	return nil
}

// closing is a connection that tells when it is closed.
type closing struct {
	net.Conn
	tell func()
}

func (c *closing) Close() error {
	defer c.tell()
	return c.Conn.Close()
}

// understands serves a head with net/http.
func (g *netHTTP) understands(t *testing.T, frame []byte) *understood {
	t.Helper()
	g.got = nil // nobody serves yet
	near, far := inMemory()
	gone := make(chan struct{})
	_ = near.SetDeadline(time.Now().Add(patience))
	g.lent <- &closing{far, sync.OnceFunc(func() { close(gone) })}
	if _, err := near.Write(append(greeting(), frame...)); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(io.Discard, near)
	for answered := false; !answered; {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f.(type) {
		case *http2.HeadersFrame, *http2.RSTStreamFrame, *http2.GoAwayFrame:
			answered = true
		}
	}
	_ = near.Close()
	<-gone
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got
}

// comparable takes away what the two treat in ways of their own: net/http keeps host among the fields, takes Trailer for itself, and
// Expect when it understands it, and has the target of CONNECT for its path.
func (u *understood) comparable() *understood {
	c := &understood{u.method, u.authority, u.path, maps.Clone(u.header)}
	for _, name := range []string{"host", "trailer", "expect"} {
		delete(c.header, name)
	}
	if c.method == "CONNECT" {
		c.path = ""
	}
	return c
}

// compareHead holds Weft's understanding of a head against net/http's.
func compareHead(t *testing.T, g *netHTTP, in []byte) (ours, theirs *understood) {
	t.Helper()
	h := parseHead(in)
	frame, fits := h.frame()
	if !fits {
		return nil, nil
	}
	ours, theirs = weftUnderstands(t, frame), g.understands(t, frame)
	excused := false
	for _, r := range stricter() {
		if r.applies(h) {
			excused = true
			if ours != nil {
				t.Errorf("Weft accepts what it is to refuse: %s", r.name)
			}
		}
	}
	if ours == nil && theirs != nil && !excused {
		t.Errorf("Weft refuses for no known reason what net/http takes as %v", theirs)
	}
	excused = false
	for _, r := range looser() {
		if r.applies(h) {
			excused = true
			if theirs != nil {
				t.Errorf("net/http does not refuse this any more: %s", r.name)
			}
		}
	}
	if ours != nil && theirs == nil && !excused {
		t.Errorf("Weft accepts what net/http refuses, for no known reason: %v", ours)
	}
	if ours != nil && theirs != nil {
		if a, b := ours.comparable().String(), theirs.comparable().String(); a != b {
			t.Errorf("Weft understands\n%s\nnet/http\n%s", a, b)
		}
	}
	return ours, theirs
}

// TestRequestHeadReasons shows that each reason is one: the two differ in its example.
func TestRequestHeadReasons(t *testing.T) {
	g := newNetHTTP(t)
	for _, r := range stricter() {
		if ours, theirs := compareHead(t, g, []byte(r.example)); ours != nil || theirs == nil || !r.applies(parseHead([]byte(r.example))) {
			t.Errorf("%s: Weft %v, net/http %v", r.name, ours, theirs)
		}
	}
	for _, r := range looser() {
		if ours, theirs := compareHead(t, g, []byte(r.example)); ours == nil || theirs != nil || !r.applies(parseHead([]byte(r.example))) {
			t.Errorf("%s: Weft %v, net/http %v", r.name, ours, theirs)
		}
	}
}

// FuzzRequestHead holds what is accepted, and how it is understood, against net/http's server. Each difference is a reason of those above.
func FuzzRequestHead(f *testing.F) {
	for _, s := range []string{
		":method GET\n:scheme http\n:authority a\n:path /", ":method CONNECT\n:authority a:1", ":path /\n:method GET\nX y",
		":method GET\n:scheme http\n:path /\nhost a\ncookie a\ncookie b\nte trailers\ntrailer x\nexpect 100-continue",
		":method OPTIONS\n:scheme http\n:path *\n:authority [::1]:1\ncontent-length 0", ":method GET\n:scheme http\n:authority u@a\n:path /",
		":method GET\n:scheme http\n:authority a\n:path /\nconnection close", ":method GET\n:scheme http\n:authority a\n:path /\n:status 200",
	} {
		f.Add([]byte(s))
	}
	for _, r := range append(stricter(), looser()...) {
		f.Add([]byte(r.example))
	}
	g := newNetHTTP(f)
	f.Fuzz(func(t *testing.T, in []byte) { compareHead(t, g, in) })
}
