package scripts

import (
	"fmt"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// early is the one whose head is sound by itself: it may have gone on, and been answered, before the data came.
const early = "content-length 0 and data"

// A downgrade is a request of HTTP/2 that must not become one of HTTP/1, or anything else.
type downgrade struct {
	name    string
	fields  []kit.Field
	body    string // "": the head ends the stream
	trailer []kit.Field
}

// base is a sound request with some fields in the place of others, which an empty name leaves out, and more behind them.
func base(replaced map[string]string, more ...string) []kit.Field {
	var fields []kit.Field
	for _, f := range kit.F(":method", "GET", ":scheme", "http", ":authority", "weft.example", ":path", "/") {
		v, ok := replaced[f.Name]
		switch {
		case ok && v == "-":
		case ok:
			fields = append(fields, kit.Field{Name: f.Name, Value: v})
		default:
			fields = append(fields, f)
		}
	}
	return append(fields, kit.F(more...)...)
}

// downgrades are group 12 of the table of hostile messages, and the injections towards upstreams.
func downgrades() []downgrade {
	type m = map[string]string
	post := m{":method": "POST"}
	all := []downgrade{
		{name: "content-length beyond the data", fields: base(post, "content-length", "10"), body: "short"},
		{name: "content-length below the data", fields: base(post, "content-length", "1"), body: "GET /evil HTTP/1.1\r\n\r\n"},
		{name: early, fields: base(post, "content-length", "0"), body: "GET /evil HTTP/1.1\r\n\r\n"},
		{name: "content-length without data", fields: base(post, "content-length", "5")},
		{name: "two lengths", fields: base(post, "content-length", "5", "content-length", "6"), body: "short"},
		{name: "a list of lengths", fields: base(post, "content-length", "5, 6"), body: "short"},
		{name: "signed length", fields: base(post, "content-length", "+5"), body: "short"},
		{name: "hexadecimal length", fields: base(post, "content-length", "0x5"), body: "short"},
		{name: "empty length", fields: base(post, "content-length", ""), body: "short"},
		{name: "transfer-encoding", fields: base(post, "transfer-encoding", "chunked"), body: "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"},
		{name: "connection", fields: base(nil, "connection", "close")},
		{name: "keep-alive", fields: base(nil, "keep-alive", "timeout=5")},
		{name: "proxy-connection", fields: base(nil, "proxy-connection", "close")},
		{name: "upgrade", fields: base(nil, "upgrade", "websocket")},
		{name: "te", fields: base(nil, "te", "gzip")},
		{name: "empty name", fields: base(nil, "", "x")},
		{name: "upper-case name", fields: base(nil, "X-Upper", "x")},
		{name: "colon in a name", fields: base(nil, "x:y", "x")},
		{name: "space in a name", fields: base(nil, "x y", "x")},
		{name: "CRLF in a name", fields: base(nil, "x: 1\r\ntransfer-encoding", "chunked")},
		{name: "bytes in a name", fields: base(nil, "x\x80", "x")},
		{name: "CRLF in a value", fields: base(nil, "x-a", "1\r\ntransfer-encoding: chunked")},
		{name: "LF in a value", fields: base(nil, "x-a", "1\nx-b: 2")},
		{name: "CR in a value", fields: base(nil, "x-a", "1\rx-b: 2")},
		{name: "NUL in a value", fields: base(nil, "x-a", "1\x002")},
		{name: "space before a value", fields: base(nil, "x-a", " 1")},
		{name: "tab after a value", fields: base(nil, "x-a", "1\t")},
		{name: "CRLF in a cookie", fields: base(nil, "cookie", "a=1", "cookie", "b=2\r\nx: y")},
		{name: "space in :path", fields: base(m{":path": "/ HTTP/1.1"})},
		{name: "CRLF in :path", fields: base(m{":path": "/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /evil"})},
		{name: "empty :path", fields: base(m{":path": ""})},
		{name: ":path without a slash", fields: base(m{":path": "evil"})},
		{name: "no :path", fields: base(m{":path": "-"})},
		{name: "two :paths", fields: append(base(nil), kit.F(":path", "/evil")...)},
		{name: "space in :method", fields: base(m{":method": "GET /evil HTTP/1.1\r\nx:"})},
		{name: "empty :method", fields: base(m{":method": ""})},
		{name: "no :method", fields: base(m{":method": "-"})},
		{name: "CRLF in :authority", fields: base(m{":authority": "weft.example\r\nx: y"})},
		{name: "space in :authority", fields: base(m{":authority": "weft example"})},
		{name: "path in :authority", fields: base(m{":authority": "weft.example/evil"})},
		{name: "user in :authority", fields: base(m{":authority": "user@weft.example"})},
		{name: "CRLF in :scheme", fields: base(m{":scheme": "http\r\nx: y"})},
		{name: "no :scheme", fields: base(m{":scheme": "-"})},
		{name: "a pseudo-header after a field", fields: append(kit.F(":method", "GET", ":scheme", "http", ":path", "/", "x-a", "1"), kit.F(":authority", "evil")...)},
		{name: "an unknown pseudo-header", fields: append(kit.F(":evil", "1"), base(nil)...)},
		{name: ":status in a request", fields: append(kit.F(":status", "200"), base(nil)...)},
		{name: ":protocol without CONNECT", fields: append(kit.F(":protocol", "websocket"), base(nil)...)},
		{name: ":protocol that was not offered", fields: append(kit.F(":protocol", "websocket"), base(m{":method": "CONNECT"})...)},
		{name: "CONNECT with a path", fields: base(m{":method": "CONNECT"})},
		{name: "neither :authority nor host", fields: base(m{":authority": "-"})},
	}
	for _, name := range []string{":path", "content-length", "transfer-encoding", "host", "connection"} {
		all = append(all, downgrade{name: name + " in the trailers", fields: base(post), body: "body", trailer: kit.F(name, "/evil")})
	}
	return append(all, downgrade{name: "CRLF in the trailers", fields: base(post), body: "body", trailer: kit.F("x-a", "1\r\nx-b: 2")})
}

// TestH2MalformedRequestsReachNoUpstream sends each on a connection of its own, and shows that no whole request reaches an upstream of
// either protocol.
func TestH2MalformedRequestsReachNoUpstream(t *testing.T) {
	for _, up := range kit.Protos() {
		t.Run("to "+string(up), func(t *testing.T) {
			s := lay(t, up, "")
			done := make(chan *kit.Whole, 1000)
			s.a.Handle(func(up kit.Stream) {
				if w, err := kit.Read(up); err == nil && w.Err == nil {
					done <- w
					_ = kit.Respond(up, 200, "taken")
				}
			})
			for _, d := range downgrades() {
				if err := s.sendMalformed(d); err != nil {
					t.Errorf("%s: %v", d.name, err)
				}
			}
			s.some("http2.rx_messaging_error")
			s.wants(s.get(s.client(), kit.Head{Path: "/last"}), 200, "taken")
			for w := range done {
				if w.Path == "/last" {
					break
				}
				if name := w.Value("x-case"); name != early || len(w.Body) > 0 {
					t.Errorf("%s: the upstream saw %s %v %q trailers %v", name, w.Wire, w.Fields, w.Body, w.Trailer)
				}
			}
			s.lift()
		})
	}
}

// sendMalformed sends a request and expects a refusal: an error status, a reset, or the end of the connection.
func (s *siege) sendMalformed(d downgrade) error {
	a := s.lab.DialH2("main", kit.H2Options{})
	defer func() { _ = a.Close() }() // perhaps Weft has closed it
	st, err := a.OpenStream(append(d.fields, kit.F("x-case", d.name)...), d.body == "")
	if err != nil {
		return err
	}
	if d.body != "" { // Weft may have given the stream up already
		_ = st.Send([]byte(d.body), d.trailer == nil)
	}
	if d.trailer != nil {
		_ = st.SendTrailer(d.trailer...)
	}
	w, err := kit.Read(st)
	if err != nil || w.Err != nil || w.Status >= 400 || d.name == early {
		return nil
	}
	return fmt.Errorf("it is answered with %d %q", w.Status, w.Body)
}

// TestH2AuthorityWinsOverHost shows that an upstream is told of one authority.
func TestH2AuthorityWinsOverHost(t *testing.T) {
	for _, up := range kit.Protos() {
		t.Run("to "+string(up), func(t *testing.T) {
			s := lay(t, up, "")
			saw := make(chan *kit.Whole, 1)
			s.a.Handle(func(up kit.Stream) {
				if w, err := kit.Read(up); err == nil {
					saw <- w
					_ = kit.Respond(up, 200, "taken")
				}
			})
			a := s.lab.DialH2("main", kit.H2Options{})
			st, err := a.OpenStream(base(nil, "host", "evil.example"), true)
			s.must(err)
			if w, err := kit.Read(st); err == nil && w.Status == 200 { // refused is right as well
				got := <-saw
				if host, ok := got.Get("host"); got.Authority != "weft.example" || ok && host != got.Authority {
					t.Errorf("the upstream got %s, host %q", got.Wire, host)
				}
			}
			s.lift()
		})
	}
}
