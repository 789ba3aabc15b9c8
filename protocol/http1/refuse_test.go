package http1

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/weftproxy/weft/protocol"
)

// hostile are messages that must not reach a handler, by the groups of the list of attacks. In each, \n stands for CRLF, \l for a bare LF and
// \r for a bare CR.
var hostile = []struct {
	name   string
	wire   string
	status string // that the client gets
}{
	// 1: Content-Length and Transfer-Encoding
	{"CL.TE", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", "400"},
	{"TE.CL", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n", "400"},
	{"CL 0 with TE", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 0\n\n0\n\n", "400"},
	{"CL.TE with close", "POST / HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", "400"},
	// 2: several lengths
	{"two equal CL", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 5\n\nhello", "400"},
	{"two CL", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 6\n\nhello", "400"},
	{"CL list", "POST / HTTP/1.1\nHost: a\nContent-Length: 5, 5\n\nhello", "400"},
	{"CL list differs", "POST / HTTP/1.1\nHost: a\nContent-Length: 5, 6\n\nhello", "400"},
	// 3: lengths that are none
	{"empty CL", "POST / HTTP/1.1\nHost: a\nContent-Length:\n\n", "400"},
	{"CL +5", "POST / HTTP/1.1\nHost: a\nContent-Length: +5\n\nhello", "400"},
	{"CL -5", "POST / HTTP/1.1\nHost: a\nContent-Length: -5\n\nhello", "400"},
	{"CL -0", "POST / HTTP/1.1\nHost: a\nContent-Length: -0\n\n", "400"},
	{"CL hex", "POST / HTTP/1.1\nHost: a\nContent-Length: 0x10\n\n0123456789012345", "400"},
	{"CL octal", "POST / HTTP/1.1\nHost: a\nContent-Length: 010\n\n0123456789", "400"},
	{"CL underscore", "POST / HTTP/1.1\nHost: a\nContent-Length: 1_0\n\n0123456789", "400"},
	{"CL inner space", "POST / HTTP/1.1\nHost: a\nContent-Length: 1 0\n\n0123456789", "400"},
	{"CL overflow", "POST / HTTP/1.1\nHost: a\nContent-Length: 18446744073709551621\n\nhello", "400"},
	{"CL letter", "POST / HTTP/1.1\nHost: a\nContent-Length: 1Z\n\nh", "400"},
	{"CL vertical tab", "POST / HTTP/1.1\nHost: a\nContent-Length: \v5\n\nhello", "400"},
	// 4: transfer codings
	{"TE leading comma", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: ,chunked\n\n0\n\n", "501"},
	{"TE trailing comma", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked,\n\n0\n\n", "501"},
	{"TE chunked twice", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, chunked\n\n0\n\n", "501"},
	{"TE field twice", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n", "501"},
	{"TE field twice, identity", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity\nTransfer-Encoding: chunked\n\n0\n\n", "501"},
	{"TE xchunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked\n\n0\n\n", "501"},
	{"TE identity", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity\n\n", "501"},
	{"TE parameter", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked;ext=val\n\n0\n\n", "501"},
	{"TE empty", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding:\n\n", "501"},
	{"TE gzip", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\n", "501"},
	{"TE chunked not last", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, gzip\n\n0\n\n", "501"},
	{"TE quoted", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \"chunked\"\n\n0\n\n", "501"},
	{"TE vertical tab", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \vchunked\n\n0\n\n", "400"},
	{"TE form feed", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\f\n\n0\n\n", "400"},
	{"TE NUL", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\x00\n\n0\n\n", "400"},
	{"TE a0", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \xa0chunked\n\n0\n\n", "501"},
	{"TE 85", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\x85\n\n0\n\n", "501"},
	{"TE ff", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \xffchunked\n\n0\n\n", "501"},
	{"TE space before colon", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding : chunked\n\n0\n\n", "400"},
	{"TE tab before colon", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding\t: chunked\n\n0\n\n", "400"},
	{"TE folded", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding:\n chunked\n\n0\n\n", "400"},
	{"TE HTTP/1.0", "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n", "400"},
	{"TE underscore", "POST / HTTP/1.1\nHost: a\nTransfer_Encoding: chunked\n\n0\n\n", "400"},
	{"CL underscore name", "POST / HTTP/1.1\nHost: a\nContent_Length: 5\n\nhello", "400"},
	// 8: field lines
	{"bare CR in value", "GET / HTTP/1.1\nHost: a\nX: a\rb\n\n", "400"},
	{"bare LF ends line", "GET / HTTP/1.1\nHost: a\nX: a\\lY: b\n\n", "400"},
	{"bare LF everywhere", "GET / HTTP/1.1\\lHost: a\\l\\l", "400"},
	{"NUL in value", "GET / HTTP/1.1\nHost: a\nX: a\x00b\n\n", "400"},
	{"no colon", "GET / HTTP/1.1\nHost: a\nX\n\n", "400"},
	{"empty name", "GET / HTTP/1.1\nHost: a\n: x\n\n", "400"},
	{"space before colon", "GET / HTTP/1.1\nHost: a\nX : a\n\n", "400"},
	{"space before first field", "GET / HTTP/1.1\n Host: a\n\n", "400"},
	{"tab in name", "GET / HTTP/1.1\nHost: a\nX\tY: a\n\n", "400"},
	{"high byte in name", "GET / HTTP/1.1\nHost: a\nX\x80: a\n\n", "400"},
	{"parenthesis in name", "GET / HTTP/1.1\nHost: a\nX(): a\n\n", "400"},
	{"folded", "GET / HTTP/1.1\nHost: a\nX: a\n b\n\n", "400"},
	{"folded with tab", "GET / HTTP/1.1\nHost: a\nX: a\n\tb\n\n", "400"},
	{"DEL in value", "GET / HTTP/1.1\nHost: a\nX: a\x7fb\n\n", "400"},
	{"many fields", "GET / HTTP/1.1\nHost: a\n" + strings.Repeat("X: y\n", 2000) + "\n", "431"},
	{"long line", "GET / HTTP/1.1\nHost: a\nX: " + strings.Repeat("y", 64<<10) + "\n\n", "431"},
	{"long target", "GET /" + strings.Repeat("y", 64<<10) + " HTTP/1.1\nHost: a\n\n", "431"},
	// 9: request line
	{"two spaces", "GET  / HTTP/1.1\nHost: a\n\n", "400"},
	{"trailing space", "GET / HTTP/1.1 \nHost: a\n\n", "400"},
	{"leading space", " GET / HTTP/1.1\nHost: a\n\n", "400"},
	{"tab", "GET\t/ HTTP/1.1\nHost: a\n\n", "400"},
	{"CR as separator", "GET\r/ HTTP/1.1\nHost: a\n\n", "400"},
	{"lower-case version", "GET / http/1.1\nHost: a\n\n", "400"},
	{"HTTP/1.32", "GET / HTTP/1.32\nHost: a\n\n", "400"},
	{"HTTP/1.2", "GET / HTTP/1.2\nHost: a\n\n", "505"},
	{"HTTP/0.9", "GET / HTTP/0.9\nHost: a\n\n", "505"},
	{"HTTP/2.0", "PRI * HTTP/2.0\n\nSM\n\n", "400"},
	{"HTTP/9999999999.1", "GET / HTTP/9999999999.1\nHost: a\n\n", "400"},
	{"no version", "GET /\nHost: a\n\n", "400"},
	{"simple request", "GET /\n\n", "400"},
	{"bad method", "G=T / HTTP/1.1\nHost: a\n\n", "400"},
	{"lower-case method", "get / HTTP/1.1\nHost: a\n\n", "400"},
	{"unknown method", "FROB / HTTP/1.1\nHost: a\n\n", "400"},
	{"NUL in target", "GET /\x00 HTTP/1.1\nHost: a\n\n", "400"},
	{"space in target", "GET /a b HTTP/1.1\nHost: a\n\n", "400"},
	{"overlong UTF-8", "GET /\xc0\xaf HTTP/1.1\nHost: a\n\n", "400"},
	{"relative target", "GET a HTTP/1.1\nHost: a\n\n", "400"},
	{"star", "GET * HTTP/1.1\nHost: a\n\n", "400"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"},
	{"three empty lines", "\n\n\nGET / HTTP/1.1\nHost: a\n\n", "400"},
	// 10: Host
	{"no host", "GET / HTTP/1.1\n\n", "400"},
	{"two hosts", "GET / HTTP/1.1\nHost: a\nHost: b\n\n", "400"},
	{"two equal hosts", "GET / HTTP/1.1\nHost: a\nHost: a\n\n", "400"},
	{"empty host", "GET / HTTP/1.1\nHost:\n\n", "400"},
	{"host list", "GET / HTTP/1.1\nHost: a, b\n\n", "400"},
	{"host comma", "GET / HTTP/1.1\nHost: a,b\n\n", "400"},
	{"userinfo", "GET / HTTP/1.1\nHost: u@a\n\n", "400"},
	{"path in host", "GET / HTTP/1.1\nHost: a/b\n\n", "400"},
	{"port is no number", "GET / HTTP/1.1\nHost: a:b\n\n", "400"},
	{"port too large", "GET / HTTP/1.1\nHost: a:65536\n\n", "400"},
	{"two ports", "GET / HTTP/1.1\nHost: a:1:2\n\n", "400"},
	{"open bracket", "GET / HTTP/1.1\nHost: [::1\n\n", "400"},
	{"absolute-form differs", "GET http://b/ HTTP/1.1\nHost: a\n\n", "400"},
	{"absolute-form userinfo", "GET http://u@a/ HTTP/1.1\nHost: a\n\n", "400"},
	{"absolute-form ftp", "GET ftp://a/ HTTP/1.1\nHost: a\n\n", "400"},
	{"absolute-form no host", "GET http:/// HTTP/1.1\nHost: a\n\n", "400"},
	{"https on plaintext", "GET https://a/ HTTP/1.1\nHost: a\n\n", "403"},
	// 11: expectations
	{"unknown expectation", "POST / HTTP/1.1\nHost: a\nExpect: 200-ok\nContent-Length: 0\n\n", "417"},
	// 13: CONNECT
	{"CONNECT path", "CONNECT /x HTTP/1.1\nHost: a\n\n", "400"},
	{"CONNECT without port", "CONNECT a HTTP/1.1\nHost: a\n\n", "400"},
	{"CONNECT with body", "CONNECT a:1 HTTP/1.1\nHost: a:1\nContent-Length: 1\n\nx", "400"},
	{"CONNECT chunked", "CONNECT a:1 HTTP/1.1\nHost: a:1\nTransfer-Encoding: chunked\n\n0\n\n", "501"},
	// Connection strips what it must not
	{"nominated host", "GET / HTTP/1.1\nHost: a\nConnection: host\n\n", "400"},
	{"nominated cookie", "GET / HTTP/1.1\nHost: a\nCookie: x\nConnection: close, Cookie\n\n", "400"},
	{"nominated forwarded", "GET / HTTP/1.1\nHost: a\nConnection: X-Forwarded-For\n\n", "400"},
	{"nominated ten", "GET / HTTP/1.1\nHost: a\nConnection: a,b,c,d,e,f,g,h,i,j\n\n", "400"},
	{"HTTP/1.0", "GET / HTTP/1.0\nHost: a\n\n", "426"},
}

// wire turns the notation of tables into bytes.
func wire(s string) string {
	return strings.NewReplacer("\n", "\r\n", "\\l", "\n").Replace(s)
}

func TestHostileRequestIsRefusedAndConnectionClosed(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			reached := false
			h := &handler{serve: func(_ context.Context, s protocol.Stream) { reached = true; _ = s.Respond(reply(200, "")) }}
			s := start(t, lax(), h)
			go func() {
				_, _ = io.WriteString(s.Conn, wire(tt.wire)+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
				_ = s.Conn.(*net.TCPConn).CloseWrite()
			}()
			got := s.rest(t)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status+" ") && !strings.HasPrefix(got, "HTTP/1.0 "+tt.status+" ") {
				t.Errorf("got %q, want status %s", got, tt.status)
			}
			if n := strings.Count(got, "HTTP/1."); n != 1 {
				t.Errorf("%d responses, want 1: %q", n, got)
			}
			if !strings.Contains(got, "connection: close\r\n") {
				t.Errorf("no Connection: close in %q", got)
			}
			if err := s.wait(t); err == nil {
				t.Error("Serve says that nothing was wrong")
			}
			if reached {
				t.Error("the handler got the request")
			}
		})
	}
}

// badBodies are chunked bodies that break off, with what comes before that.
var badBodies = []struct{ name, wire string }{
	{"0x5", "0x5\nhello\n0\n\n"}, {"+5", "+5\nhello\n0\n\n"}, {"-0x0", "-0x0\n\n"}, {"5_0", "5_0\nhello\n0\n\n"},
	{"leading space", " 5\nhello\n0\n\n"}, {"trailing space", "5 \nhello\n0\n\n"}, {"Z", "Z\nhello\n0\n\n"},
	{"overflow", "ffffffffffffffff5\nhello\n0\n\n"}, {"sixteen digits", "0000000000000005\nhello\n0\n\n"}, {"empty size", "\nhello\n0\n\n"},
	{"empty extension", "5;\nhello\n0\n\n"}, {"space before extension", "5 ;a\nhello\n0\n\n"},
	{"bare LF after size", "5\\lhello\n0\n\n"}, {"bare CR after size", "5\rhello\n0\n\n"}, {"CR X", "5\rXhello\n0\n\n"},
	{"CR CR ;", "5\r\r;\nhello\n0\n\n"}, {"LF in extension", "5;a\\lhello\n0\n\n"}, {"control in extension", "5;a\x01\nhello\n0\n\n"},
	{"long extension", "5;" + strings.Repeat("a", 2000) + "\nhello\n0\n\n"},
	{"spill", "5\nhelloX\n0\n\n"}, {"no CRLF after data", "5\nhello0\n\n"}, {"bare LF after data", "5\nhello\\l0\n\n"},
	{"XX after last chunk", "5\nhello\n0\nXX\n\n"}, {"bare LF at the end", "5\nhello\n0\n\\l"},
	{"CL trailer", "5\nhello\n0\nContent-Length: 5\n\n"}, {"TE trailer", "5\nhello\n0\nTransfer-Encoding: chunked\n\n"},
	{"Host trailer", "5\nhello\n0\nHost: b\n\n"}, {"folded trailer", "5\nhello\n0\nA: b\n c\n\n"},
	{"trailer without colon", "5\nhello\n0\nA\n\n"}, {"many trailers", "5\nhello\n0\n" + strings.Repeat("A: b\n", 200) + "\n"},
	{"long trailer", "5\nhello\n0\nA: " + strings.Repeat("b", 64<<10) + "\n\n"},
}

func TestMalformedChunkedBodyBreaksOff(t *testing.T) {
	for _, tt := range badBodies {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, lax(), &handler{serve: echo})
			go func() {
				_, _ = io.WriteString(s.Conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+wire(tt.wire)+
					"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
				_ = s.Conn.(*net.TCPConn).CloseWrite()
			}()
			got := s.rest(t)
			if !strings.HasPrefix(got, "HTTP/1.1 4") || strings.Count(got, "HTTP/1.") != 1 || !strings.Contains(got, "connection: close") {
				t.Errorf("got %q, want one 4xx and the end", got)
			}
		})
	}
}
