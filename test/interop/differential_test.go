//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// addedByWeft are the request headers that Weft adds or that are between neighbours only (RFC 9110 section 7.6.1).
var addedByWeft = []string{"X-Request-Id", "X-Forwarded-Proto", "X-Envoy-Expected-Rq-Timeout-Ms", "Connection", "Keep-Alive", "Te", "Upgrade", "Proxy-Connection",
	"Trailer"}

// mirror answers with what it saw, as JSON.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, name := range addedByWeft {
		r.Header.Del(name)
	}
	if len(body) == 0 {
		r.Header.Del("content-length") // Weft says it where the method makes a body likely, and only there (RFC 9110 section 8.6)
	}
	w.Header().Set("content-type", "application/json")
	w.Header().Set("x-body", fmt.Sprint(len(body)))
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client sees what is missing
		"method": r.Method, "path": r.URL.RequestURI(), "host": r.Host, "header": r.Header, "body": string(body), "length": r.ContentLength,
		"coding": r.TransferEncoding, "trailer": r.Trailer,
	})
}

// exchangeRaw sends bytes and reads everything until the end, or until nothing has come for a while.
func exchangeRaw(addr, in string, quiet time.Duration) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() { // ends with the connection
		_, err := io.WriteString(c, in)
		sent <- err
	}()
	var got bytes.Buffer
	b := make([]byte, 16<<10)
	for {
		_ = c.SetReadDeadline(time.Now().Add(quiet)) // a failure shows in Read
		n, err := c.Read(b)
		got.Write(b[:n])
		if err == io.EOF {
			return got.String(), nil
		}
		if err != nil {
			return got.String(), err
		}
	}
}

// parse reads the answers to requests with the given methods.
func parse(text string, methods []string) ([]answer, error) {
	r := bufio.NewReader(strings.NewReader(text))
	var all []answer
	for _, method := range methods {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		for err == nil && resp.StatusCode/100 == 1 && resp.StatusCode != 101 {
			resp, err = http.ReadResponse(r, &http.Request{Method: method})
		}
		if err != nil {
			return all, fmt.Errorf("%w in %.300q", err, text)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return all, fmt.Errorf("%w in %.300q", err, text)
		}
		a := answer{resp.StatusCode, 0, nil, resp.Header, string(body), resp.Trailer}
		for _, name := range []string{"Date", "Server", "X-Envoy-Upstream-Service-Time", "Connection", "Keep-Alive"} {
			a.header.Del(name)
		}
		all = append(all, a)
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		return all, fmt.Errorf("%d bytes too many: %.100q", len(rest), rest)
	}
	return all, nil
}

// An odd is a request, or several, that are valid and unusual. The last one closes the connection.
type odd struct {
	name, in string
	methods  []string // of the requests, GET if empty
}

const end = "Connection: close\r\n\r\n"

// odds are valid requests.
func odds() []odd {
	get := func(name, line, fields string) odd {
		return odd{name, line + "\r\nHost: a.example\r\n" + fields + end, []string{strings.Fields(line)[0]}}
	}
	post := func(name, fields, body string) odd {
		return odd{name, "POST /p HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n" + fields + "\r\n" + body, []string{"POST"}}
	}
	chunked := func(name, body string) odd { return post(name, "Transfer-Encoding: chunked\r\n", body) }
	all := []odd{
		get("plain", "GET / HTTP/1.1", ""),
		get("query", "GET /?a=b&c=%20&d HTTP/1.1", ""),
		get("empty query", "GET /? HTTP/1.1", ""),
		get("question marks", "GET /a?b?c??d HTTP/1.1", ""),
		get("percent", "GET /%41%2f%c3%a9%00x HTTP/1.1", ""),
		get("lower-case percent", "GET /%7euser/%2e%2e HTTP/1.1", ""),
		get("sub-delimiters", "GET /!$&'()*+,;=:@-._~ HTTP/1.1", ""),
		get("double slashes", "GET //a///b/ HTTP/1.1", ""),
		get("dot segments", "GET /a/./b/../c HTTP/1.1", ""),
		get("semicolons", "GET /a;b=c;d/e;f HTTP/1.1", ""),
		get("colon", "GET /a:b:80 HTTP/1.1", ""),
		get("long path", "GET /"+strings.Repeat("abcdefgh/", 500)+" HTTP/1.1", ""),
		get("long query", "GET /?"+strings.Repeat("k=v&", 2000)+" HTTP/1.1", ""),
		get("url in the query", "GET /?u=http://b.example/x?y=z HTTP/1.1", ""),
		get("brackets in the query", "GET /?a[]=1&a[]={2}|^` HTTP/1.1", ""),
		get("HEAD", "HEAD /h HTTP/1.1", ""),
		get("DELETE", "DELETE /d HTTP/1.1", ""),
		get("PATCH without a body", "PATCH /p HTTP/1.1", ""),
		get("OPTIONS", "OPTIONS /o HTTP/1.1", ""),
		get("TRACE", "TRACE /t HTTP/1.1", ""),
		get("an unknown method", "FROBNICATE /f HTTP/1.1", ""),
		get("a method of token characters", "M-S.a_b!#$%&'*+^`|~9 /f HTTP/1.1", ""),
		get("a lower-case method", "get /f HTTP/1.1", ""),
		{"absolute form", "GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n" + end, nil},
		{"absolute form without a path", "GET http://a.example HTTP/1.1\r\nHost: a.example\r\n" + end, nil},
		{"absolute form with a port", "GET http://a.example:8080/x HTTP/1.1\r\nHost: a.example:8080\r\n" + end, nil},
		{"absolute form, upper-case scheme", "GET HTTP://a.example/x HTTP/1.1\r\nHost: a.example\r\n" + end, nil},
		{"host with a port", "GET / HTTP/1.1\r\nHost: a.example:80\r\n" + end, nil},
		{"host that is an address", "GET / HTTP/1.1\r\nHost: 127.0.0.1:1234\r\n" + end, nil},
		{"host that is an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:1234\r\n" + end, nil},
		{"host in upper case", "GET / HTTP/1.1\r\nHost: A.EXAMPLE\r\n" + end, nil},
		{"host with an underscore", "GET / HTTP/1.1\r\nHost: a_b.example\r\n" + end, nil},
		{"host with a last dot", "GET / HTTP/1.1\r\nHost: a.example.\r\n" + end, nil},
		{"host last", "GET / HTTP/1.1\r\nX: y\r\nConnection: close\r\nHOST: a.example\r\n\r\n", nil},
		get("no value", "GET / HTTP/1.1", "X-Empty:\r\nX-Blank:   \r\n"),
		get("white space around values", "GET / HTTP/1.1", "X-A: \t b \t\r\nX-B:c\r\n"),
		get("white space within values", "GET / HTTP/1.1", "X-A: a  b\tc\r\n"),
		get("same name twice", "GET / HTTP/1.1", "X-A: 1\r\nX-A: 2\r\nx-a: 3\r\n"),
		get("spellings", "GET / HTTP/1.1", "x-LOWER-Upper: 1\r\n"),
		get("names of token characters", "GET / HTTP/1.1", "x!#$%&'*+.^_`|~9: 1\r\n"),
		get("high bytes", "GET / HTTP/1.1", "X-A: J\xc3\xbcrgen\r\nX-B: \xfc\xff\r\n"),
		get("cookies", "GET / HTTP/1.1", "Cookie: a=b; c=\"d e\"; $f\r\nCookie: g=h\r\n"),
		get("lists", "GET / HTTP/1.1", "Accept: a/b;q=0.1, , */*\r\nAccept-Encoding: gzip,,br\r\n"),
		get("many headers", "GET / HTTP/1.1", strings.Repeat("X-Many: 1\r\n", 90)),
		get("a long header", "GET / HTTP/1.1", "X-Long: "+strings.Repeat("x", 40<<10)+"\r\n"),
		get("range and conditions", "GET / HTTP/1.1", "Range: bytes=0-\r\nIf-None-Match: W/\"a\", \"b\"\r\nIf-Modified-Since: x\r\n"),
		get("authorization", "GET / HTTP/1.1", "Authorization: Basic YTpi\r\nProxy-Authorization: x\r\n"),
		get("connection nominates", "GET / HTTP/1.1", "Keep-Alive: timeout=5\r\nTE: trailers\r\n"),
		get("GET with a body", "GET /b HTTP/1.1", "Content-Length: 0\r\n"),
		{"GET with bytes", "GET /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n" + end + "body", nil},
		{"DELETE with chunks", "DELETE /b HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n" + end + "4\r\nbody\r\n0\r\n\r\n", []string{"DELETE"}},
		post("length", "Content-Length: 4\r\n", "body"),
		post("length of nothing", "Content-Length: 0\r\n", ""),
		post("length with space", "Content-Length:   4  \r\n", "body"),
		post("no length", "", ""),
		post("binary", "Content-Length: 6\r\n", "\x00\r\n\xff\n\r"),
		post("expect", "Content-Length: 4\r\nExpect: 100-continue\r\n", "body"),
		post("expect in upper case", "Content-Length: 4\r\nExpect: 100-CONTINUE\r\n", "body"),
		post("large", "Content-Length: 300000\r\n", strings.Repeat("0123456789", 30000)),
		chunked("chunks", "4\r\nbody\r\n3\r\n...\r\n0\r\n\r\n"),
		chunked("no chunks", "0\r\n\r\n"),
		chunked("upper-case size", "A\r\n0123456789\r\n0\r\n\r\n"),
		chunked("size with zeros", "00004\r\nbody\r\n000\r\n\r\n"),
		chunked("extensions", "4;a\r\nbody\r\n4;a=b;c=\"d\"\r\nbody\r\n0;e\r\n\r\n"),
		chunked("one byte each", strings.Repeat("1\r\nx\r\n", 1000)+"0\r\n\r\n"),
		chunked("a large chunk", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 200000, strings.Repeat("y", 200000))),
		post("trailers", "Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Other\r\n", "4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Other:  2 \r\n\r\n"),
		post("coding in upper case", "Transfer-Encoding: CHUNKED\r\n", "4\r\nbody\r\n0\r\n\r\n"),
		{"HTTP/1.0", "GET /old HTTP/1.0\r\nHost: a.example\r\n\r\n", nil},
		{"HTTP/1.0 with a body", "POST /old HTTP/1.0\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody", []string{"POST"}},
		{"HTTP/1.0 with keep-alive", "GET /1 HTTP/1.0\r\nHost: a.example\r\nConnection: Keep-Alive\r\n\r\nGET /2 HTTP/1.0\r\nHost: a.example\r\n\r\n", []string{"GET", "GET"}},
		{"pipelined", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET /4 HTTP/1.1\r\nHost: a\r\n" + end,
			[]string{"GET", "HEAD", "POST", "GET"}},
		{"pipelined with an empty line", "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\r\nGET /2 HTTP/1.1\r\nHost: a\r\n" + end, []string{"POST", "GET"}},
		{"pipelined chunks", strings.Repeat("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 3) + "GET /2 HTTP/1.1\r\nHost: a\r\n" + end,
			[]string{"POST", "POST", "POST", "GET"}},
	}
	return all
}

func TestOddRequestsGetTheSameAnswerThroughWeft(t *testing.T) {
	o := serve(t, http.HandlerFunc(mirror))
	w := startWeft(t, o, setup{faithful: true})
	for _, c := range odds() {
		t.Run(c.name, func(t *testing.T) {
			methods := c.methods
			if methods == nil {
				methods = []string{"GET"}
			}
			var got [2][]answer
			for i, addr := range []string{o, w.addr} {
				text, err := exchangeRaw(addr, c.in, patience)
				if err != nil {
					t.Fatalf("%s: %v after %.200q", [2]string{"directly", "through Weft"}[i], err, text)
				}
				if got[i], err = parse(text, methods); err != nil {
					t.Fatalf("%s: %v", [2]string{"directly", "through Weft"}[i], err)
				}
			}
			for i := range methods {
				if diff := differ(got[0][i], got[1][i]); diff != "" {
					t.Errorf("answer %d: %s\ndirectly     %.400s\nthrough Weft %.400s", i, diff, got[0][i].body, got[1][i].body)
				}
			}
		})
	}
}

// TestEmptyLinesBeforeARequestAreSkipped is where net/http is stricter than RFC 9112 section 2.2.
func TestEmptyLinesBeforeARequestAreSkipped(t *testing.T) {
	w := startWeft(t, serve(t, http.HandlerFunc(mirror)), setup{})
	text, err := exchangeRaw(w.addr, "\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n"+end, patience)
	if err != nil || !strings.HasPrefix(text, "HTTP/1.1 200 ") {
		t.Errorf("%v, %q", err, text)
	}
}

// TestAddedHeadersAreCanonical keeps the list of headers honest.
func TestAddedHeadersAreCanonical(t *testing.T) {
	for _, name := range addedByWeft {
		if textproto.CanonicalMIMEHeaderKey(name) != name {
			t.Errorf("%s is never found in a http.Header", name)
		}
	}
}
