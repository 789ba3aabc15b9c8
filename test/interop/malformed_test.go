//go:build interop

package interop

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A bad is a message that is refused: its framing, or what it asks for, could be read in two ways.
type bad struct {
	name, in string
	body     bool // the head is sound, the body is not: the upstream may have seen the beginning
}

// bads are invalid requests. Each ends where a server that takes it would have all of it.
func bads() []bad {
	head := func(name, fields string) bad {
		return bad{name, "GET /next/ HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n", false}
	}
	line := func(name, line string) bad { return bad{name, line + "\r\nHost: a\r\n\r\n", false} }
	post := func(name, fields, body string) bad {
		return bad{name, "POST /next/ HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body, false}
	}
	chunked := func(name, body string) bad {
		return bad{name, "POST /next/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body, true}
	}
	return []bad{
		post("length and chunked", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
		post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
		post("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
		post("a list of lengths", "Content-Length: 5, 5\r\n", "hello"),
		post("length +5", "Content-Length: +5\r\n", "hello"),
		post("length -1", "Content-Length: -1\r\n", "hello"),
		post("length 0x5", "Content-Length: 0x5\r\n", "hello"),
		post("length 0005", "Content-Length: 0005\r\n", "hello"),
		post("length of nothing", "Content-Length:\r\n", ""),
		post("length 2^64+5", "Content-Length: 18446744073709551621\r\n", "hello"),
		post("coding xchunked", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
		post("coding chunked, identity", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
		post("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
		post("vertical tab before chunked", "Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
		post("space before the colon", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
		{"chunked in HTTP/1.0", "POST /next/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
		head("obs-fold", "X: a\r\n b\r\n"),
		head("no colon", "X\r\n"),
		head("empty name", ": x\r\n"),
		head("NUL in a value", "X: a\x00b\r\n"),
		head("CR in a value", "X: a\rb\r\n"),
		head("space in a name", "X Y: a\r\n"),
		head("high byte in a name", "X\xff: a\r\n"),
		head("two hosts", "Host: b\r\n"),
		head("a second, equal host", "Host: a\r\n"),
		{"no host", "GET /next/ HTTP/1.1\r\nX: y\r\n\r\n", false},
		{"a path in the host", "GET /next/ HTTP/1.1\r\nHost: a/b\r\n\r\n", false},
		{"a space in the host", "GET /next/ HTTP/1.1\r\nHost: a b\r\n\r\n", false},
		{"userinfo in the host", "GET /next/ HTTP/1.1\r\nHost: u@a\r\n\r\n", false},
		{"another host in the target", "GET http://b/next/ HTTP/1.1\r\nHost: a\r\n\r\n", false},
		{"bare LF", "GET /next/ HTTP/1.1\nHost: a\n\n", false},
		line("two spaces", "GET  /next/ HTTP/1.1"),
		line("tabs", "GET\t/next/\tHTTP/1.1"),
		line("space in the target", "GET /next/a b HTTP/1.1"),
		line("NUL in the target", "GET /next/\x00 HTTP/1.1"),
		line("DEL in the target", "GET /next/\x7f HTTP/1.1"),
		line("lower-case version", "GET /next/ http/1.1"),
		line("HTTP/1.12", "GET /next/ HTTP/1.12"),
		line("HTTP/2.0", "GET /next/ HTTP/2.0"),
		line("HTTP/0.9 with headers", "GET /next/"),
		line("parentheses in the method", "G(E)T /next/ HTTP/1.1"),
		line("relative target", "GET next/ HTTP/1.1"),
		head("a header of 200 KB", "X: "+strings.Repeat("x", 200<<10)+"\r\n"),
		head("2,000 headers", strings.Repeat("X: y\r\n", 2000)),
		chunked("chunk size 0x5", "0x5\r\nhello\r\n0\r\n\r\n"),
		chunked("chunk size -5", "-5\r\nhello\r\n0\r\n\r\n"),
		chunked("chunk size with space before", " 5\r\nhello\r\n0\r\n\r\n"),
		chunked("chunk size overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
		chunked("chunk without its end", "5\r\nhelloX\r\n0\r\n\r\n"),
		chunked("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
		chunked("bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
		chunked("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
		chunked("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
		chunked("a trailer without a colon", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
	}
}

// refusal matches the beginning of an answer to an invalid request.
var refusal = regexp.MustCompile(`^HTTP/1\.[01] (4\d\d|501|505) `)

// A witness counts what an upstream has seen.
type witness struct{ whole, broken atomic.Int64 }

func (s *witness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		s.broken.Add(1)
		return
	}
	s.whole.Add(1)
}

// outcome is a status, "close", or "waits", and what the upstream saw of it.
func outcome(text string, err error, s *witness) string {
	out := "close"
	switch {
	case len(text) >= 12:
		out = text[9:12]
	case err != nil:
		out = "waits"
	}
	if n := s.whole.Swap(0); n > 0 {
		out += fmt.Sprintf(" passed on %d×", n)
	}
	if s.broken.Swap(0) > 0 {
		out += " broken off"
	}
	return out
}

// TestInvalidRequestsAreRefused logs what nginx and HAProxy make of the same messages.
func TestInvalidRequestsAreRefused(t *testing.T) {
	var seen [3]witness
	w := startWeft(t, serve(t, &seen[0]), setup{})
	n := startNginx(t, serve(t, &seen[1]), "1.1")
	h := startHAProxy(t, serve(t, &seen[2]))
	table := fmt.Sprintf("\n%-30s %-24s %-24s %s\n", "", "Weft", "nginx", "HAProxy")
	for _, c := range bads() {
		before := w.stat("cluster.up.upstream_rq_total")
		text, err := exchangeRaw(w.addr, c.in, 5*time.Second)
		w.becomes("cluster.up.upstream_rq_active", 0)
		whole := seen[0].whole.Load()
		forwarded := w.stat("cluster.up.upstream_rq_total") - before
		row := []string{outcome(text, err, &seen[0])}
		for i, addr := range []string{n.addr, h.addr} {
			text, err := exchangeRaw(addr, c.in, 200*time.Millisecond)
			row = append(row, outcome(text, err, &seen[i+1]))
		}
		table += fmt.Sprintf("%-30s %-24s %-24s %s\n", c.name, row[0], row[1], row[2])
		switch {
		case whole > 0:
			t.Errorf("%s: the upstream got it", c.name)
		case forwarded > 0 && !c.body:
			t.Errorf("%s: the upstream was asked", c.name)
		case err != nil && len(text) == 0:
			t.Errorf("%s: no answer: %v", c.name, err)
		case len(text) > 0 && !refusal.MatchString(text):
			t.Errorf("%s: answer %.200q", c.name, text)
		case strings.Count(text, "HTTP/1.") > 1:
			t.Errorf("%s: several answers %.400q", c.name, text)
		}
	}
	t.Log(table)
	if a := ask(t, client(t), "GET", "http://"+w.addr+"/", nil, nil); a.status != 200 {
		t.Errorf("status %d after all that", a.status)
	}
}
