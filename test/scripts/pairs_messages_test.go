package scripts

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// A passage is one exchange that goes through without a change.
type passage struct {
	name     string
	request  passing
	informed []kit.Head // before the response
	response passing
	bodiless bool // the response's body does not come, though its length may
}

// passing is one message.
type passing struct {
	head    kit.Head
	body    []byte
	length  bool // say it in content-length
	trailer []kit.Field
}

// send sends the message in pieces.
func (m passing) send(s kit.Stream) error {
	if err := s.SendHead(m.openHead(), len(m.body) == 0 && m.trailer == nil); err != nil {
		return err
	}
	return m.sendRest(s)
}

func (m passing) sendRest(s kit.Stream) error {
	const piece = 10000
	for b := m.body; len(b) > 0; {
		part := b[:min(len(b), piece)]
		b = b[len(part):]
		if err := s.Send(part, len(b) == 0 && m.trailer == nil); err != nil {
			return err
		}
	}
	if m.trailer != nil {
		return s.SendTrailer(m.trailer...)
	}
	return nil
}

// check compares a message that was received with what was sent.
func (m passing) check(got *kit.Whole, bodiless bool) error {
	if bodiless {
		m.body = nil
	}
	if got.Err != nil || !bytes.Equal(got.Body, m.body) {
		return fmt.Errorf("%d bytes of body, %v; want %d", len(got.Body), got.Err, len(m.body))
	}
	for _, f := range m.head.Fields {
		if v, ok := got.Get(f.Name); !ok || v != f.Value {
			return fmt.Errorf("field %s is %q", f.Name, v)
		}
	}
	if length, ok := got.Get("content-length"); m.length && (!ok || length == "") {
		return fmt.Errorf("no content-length")
	}
	if len(got.Trailer) != len(m.trailer) {
		return fmt.Errorf("trailers %v, want %v", got.Trailer, m.trailer)
	}
	for i, f := range m.trailer {
		if got.Trailer[i] != f {
			return fmt.Errorf("trailers %v, want %v", got.Trailer, m.trailer)
		}
	}
	return nil
}

func passages() []passage {
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB: more than all windows together
	get, ok := passing{head: kit.Head{Path: "/a?b=c", Fields: kit.F("x-one", "1", "accept", "*/*")}}, kit.Head{Status: 200}
	post := kit.Head{Method: "POST", Path: "/post"}
	small := passing{head: ok, body: []byte("hello"), length: true}
	return []passage{
		{name: "GET", request: get, response: small},
		{name: "GET with an unknown length", request: get, response: passing{head: ok, body: []byte("hello")}},
		{name: "GET with an empty response", request: get, response: passing{head: ok, length: true}},
		{name: "HEAD", request: passing{head: kit.Head{Method: "HEAD"}}, response: small, bodiless: true},
		{name: "HEAD without a length", request: passing{head: kit.Head{Method: "HEAD"}}, response: passing{head: ok}, bodiless: true},
		{name: "POST with a length", request: passing{head: post, body: []byte("abc"), length: true}, response: small},
		{name: "POST without a length", request: passing{head: post, body: []byte("abc")}, response: small},
		{name: "POST with an empty body", request: passing{head: post, length: true}, response: small},
		{name: "other methods", request: passing{head: kit.Head{Method: "PROPFIND", Path: "/dav"}}, response: small},
		{name: "DELETE with a body", request: passing{head: kit.Head{Method: "DELETE"}, body: []byte("why"), length: true}, response: small},
		{name: "a large request", request: passing{head: post, body: big, length: true}, response: small},
		{name: "a large response", request: get, response: passing{head: ok, body: big, length: true}},
		{name: "large both ways, lengths unknown", request: passing{head: post, body: big}, response: passing{head: ok, body: big}},
		{
			name: "trailers both ways", request: passing{head: post, body: []byte("abc"), trailer: kit.F("x-check", "7")},
			response: passing{head: ok, body: []byte("hello"), trailer: kit.F("x-sum", "42", "x-more", "")},
		},
		{
			name: "trailers without a body", request: passing{head: post, trailer: kit.F("x-check", "7")},
			response: passing{head: ok, trailer: kit.F("x-sum", "42")},
		},
		{name: "204", request: get, response: passing{head: kit.Head{Status: 204}}},
		{name: "304 with a length", request: get, response: passing{head: kit.Head{Status: 304, Fields: kit.F("content-length", "5", "etag", `"x"`)}}},
		{name: "404", request: get, response: passing{head: kit.Head{Status: 404}, body: []byte("nothing here"), length: true}},
		{name: "503 of the upstream", request: get, response: passing{head: kit.Head{Status: 503}, body: []byte("later"), length: true}},
		{
			name: "early hints", request: get, response: small,
			informed: []kit.Head{{Status: 103, Fields: kit.F("link", "</a.css>")}, {Status: 103, Fields: kit.F("link", "</b.css>")}},
		},
		{name: "102", request: get, informed: []kit.Head{{Status: 102}}, response: small},
		{
			name: "a field many times", request: passing{head: kit.Head{Fields: kit.F("x-a", "1", "x-b", "2", "accept-language", "de")}},
			response: passing{head: kit.Head{Status: 200, Fields: kit.F("set-cookie", "a=1; path=/", "vary", "accept")}, length: true},
		},
		{
			name:     "a large head",
			request:  passing{head: kit.Head{Fields: kit.F("x-large", string(bytes.Repeat([]byte("v"), 30000)))}},
			response: passing{head: kit.Head{Status: 200, Fields: kit.F("x-large", string(bytes.Repeat([]byte("w"), 30000)))}, length: true},
		},
	}
}

// TestMessagesPass sends every kind of exchange twice on one connection, and compares what each side has got.
func TestMessagesPass(t *testing.T) {
	kit.Run(t, func(t *testing.T, p kit.Pair) {
		r := newRig(t, p, kit.HTTP{})
		client := r.client()
		for _, c := range passages() {
			for range 2 {
				if err := r.pass(client, c); err != nil {
					t.Errorf("%s: %v", c.name, err)
					client = r.client()
				}
			}
		}
	})
}

// pass does one exchange.
func (r *rig) pass(client kit.Client, c passage) error {
	type result struct {
		request *kit.Whole
		err     error
	}
	answered := make(chan result, 1)
	r.a.Handle(func(s kit.Stream) {
		w, err := kit.Read(s)
		for _, h := range c.informed {
			if err == nil {
				err = s.SendHead(h, false)
			}
		}
		if err == nil {
			err = c.response.send(s)
		}
		answered <- result{w, err}
	})
	s, err := client.Open(c.request.openHead(), len(c.request.body) == 0 && c.request.trailer == nil)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- c.request.sendRest(s) }()
	got, err := kit.Read(s)
	if err == nil {
		err = c.response.check(got, c.bodiless)
	}
	if err != nil {
		return fmt.Errorf("the response: %w", err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("sending the request: %w", err)
	}
	a := <-answered
	if a.err != nil {
		return fmt.Errorf("the upstream: %w", a.err)
	}
	if err := c.request.check(a.request, false); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	return c.sameHeads(a.request, got)
}

// openHead is the head with the length in it.
func (m passing) openHead() kit.Head {
	h := m.head
	if m.length {
		h.Fields = append(kit.F("content-length", strconv.Itoa(len(m.body))), h.Fields...)
	}
	return h
}

// sameHeads compares what is not a field.
func (c passage) sameHeads(request, response *kit.Whole) error {
	want := c.request.head
	if want.Method == "" {
		want.Method = "GET"
	}
	if want.Path == "" {
		want.Path = "/"
	}
	if request.Method != want.Method || request.Path != want.Path || request.Authority != "weft.example" {
		return fmt.Errorf("the upstream got %s", request.Wire)
	}
	if response.Status != c.response.head.Status {
		return fmt.Errorf("status %d", response.Status)
	}
	if len(response.Informed) != len(c.informed) {
		return fmt.Errorf("%d informational responses", len(response.Informed))
	}
	for i, h := range c.informed {
		got := response.Informed[i]
		if got.Status != h.Status || len(h.Fields) > 0 && got.Value(h.Fields[0].Name) != h.Fields[0].Value {
			return fmt.Errorf("informational response %+v, want %+v", got, h)
		}
	}
	return nil
}
