package scripts

import "strings"

// A malformed is bytes that a client sends, and what it must get: a status ("400"), after which the connection is closed; "400 kept",
// where the message is sound and only what it asks for is not; "refused", by any status or none; or "ok", when the message is sound
// after all or has been made so. body is what the upstream must get then.
type malformed struct {
	name, in, want, body string
}

// get, post and chunked make the beginning of otherwise sound requests.
const (
	get     = "GET / HTTP/1.1\r\nhost: a\r\n"
	post    = "POST / HTTP/1.1\r\nhost: a\r\n"
	chunked = post + "transfer-encoding: chunked\r\n\r\n"
)

// malformedGroups are the groups 1 to 11 and 13 of hostile HTTP/1 input.
func malformedGroups() map[string][]malformed {
	return map[string][]malformed{
		"01 content-length and transfer-encoding": {
			{"CL.TE", post + "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG", "400", ""},
			{"TE.CL", post + "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5c\r\nGPOST", "400", ""},
			{"equal", post + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400", ""},
			{"connection close", post + "connection: close\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG", "400", ""},
			{"on GET", get + "content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400", ""},
			{"nominated by connection", post + "connection: content-length\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400", ""},
		},
		"02 several content-lengths": {
			{"different", post + "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", "400", ""},
			{"same", post + "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", "400", ""},
			{"list of the same", post + "content-length: 5, 5\r\n\r\nhello", "400", ""},
			{"list of different", post + "content-length: 5, 6\r\n\r\nhello!", "400", ""},
			{"empty and valid", post + "content-length:\r\ncontent-length: 5\r\n\r\nhello", "400", ""},
			{"zero and more", post + "content-length: 0\r\ncontent-length: 5\r\n\r\nhello", "400", ""},
		},
		"03 content-length values": contentLengths(),
		"04 transfer-encoding":     transferEncodings(),
		"05 chunk sizes":           chunkSizes(),
		"06 chunk line ends": {
			{"bare LF after the size", chunked + "5\nhello\r\n0\r\n\r\n", "400", ""},
			{"bare LF after the data", chunked + "5\r\nhello\n0\r\n\r\n", "400", ""},
			{"bare CR after the size", chunked + "5\rhello\r\n0\r\n\r\n", "400", ""},
			{"CR and another byte", chunked + "5\r\rXhello\r\n0\r\n\r\n", "400", ""},
			{"two CRs and a semicolon", chunked + "5\r\r;ABCD\r\nhello\r\n0\r\n\r\n", "400", ""},
			{"LF in an extension", chunked + "5;a\nhello\r\n0\r\n\r\n", "400", ""},
			{"CR in an extension", chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", "400", ""},
			{"data longer than the size", chunked + "5\r\nhelloX\r\n0\r\n\r\n", "400", ""},
			{"data shorter than the size", chunked + "6\r\nhello\r\n0\r\n\r\n", "400", ""},
			{"two bytes after the data", chunked + "5\r\nhelloXX0\r\n\r\n", "400", ""},
			{"bytes instead of the last line", chunked + "0\r\nXX\r\n\r\n", "400", ""},
			{"bare LF at the end", chunked + "0\r\n\n", "400", ""},
			{"NUL in an extension", chunked + "5;a=\x00\r\nhello\r\n0\r\n\r\n", "400", ""},
			{"a long extension", chunked + "5;a=" + strings.Repeat("x", 20<<10) + "\r\nhello\r\n0\r\n\r\n", "400", ""},
			{"an extension", chunked + "5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n", "ok", "hello"},
		},
		"07 trailers": {
			{"content-length", chunked + "5\r\nhello\r\n0\r\ncontent-length: 9\r\n\r\n", "400", ""},
			{"transfer-encoding", chunked + "5\r\nhello\r\n0\r\ntransfer-encoding: chunked\r\n\r\n", "400", ""},
			{"host", chunked + "5\r\nhello\r\n0\r\nhost: evil\r\n\r\n", "400", ""},
			{"authorization", chunked + "5\r\nhello\r\n0\r\nauthorization: x\r\n\r\n", "ok", "hello"},
			{"content-type", chunked + "5\r\nhello\r\n0\r\ncontent-type: x\r\n\r\n", "ok", "hello"},
			{"no colon", chunked + "5\r\nhello\r\n0\r\nnonsense\r\n\r\n", "400", ""},
			{"NUL", chunked + "5\r\nhello\r\n0\r\nx: a\x00b\r\n\r\n", "400", ""},
			{"bare LF", chunked + "5\r\nhello\r\n0\r\nx: a\n\r\n", "400", ""},
			{"space before the colon", chunked + "5\r\nhello\r\n0\r\nx : a\r\n\r\n", "400", ""},
			{"too many bytes", chunked + "0\r\nx: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", "refused", ""},
		},
		"08 header lines":  headerLines(),
		"09 request lines": requestLines(),
		"10 host": {
			{"missing", "GET / HTTP/1.1\r\n\r\n", "400", ""},
			{"twice", get + "host: b\r\n\r\n", "400", ""},
			{"twice the same", get + "host: a\r\n\r\n", "400", ""},
			{"list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "400", ""},
			{"userinfo", "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", "400", ""},
			{"path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", "400", ""},
			{"space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "400", ""},
			{"query", "GET / HTTP/1.1\r\nhost: a?b\r\n\r\n", "400", ""},
			{"fragment", "GET / HTTP/1.1\r\nhost: a#b\r\n\r\n", "400", ""},
			{"bad port", "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", "400", ""},
			{"two ports", "GET / HTTP/1.1\r\nhost: a:1:2\r\n\r\n", "400", ""},
			{"empty", "GET / HTTP/1.1\r\nhost:\r\n\r\n", "400", ""},
			{"another than the target's", "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", "400", ""},
			{"target with userinfo", "GET http://user@a/ HTTP/1.1\r\nhost: a\r\n\r\n", "400", ""},
			{"the target's", "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", "ok", ""},
		},
		"11 bodies": {
			{"GET with a body", get + "content-length: 5\r\n\r\nhello", "ok", "hello"},
			{"HEAD with a body", "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", "ok", "hello"},
			{"OPTIONS with a body", "OPTIONS / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", "ok", "hello"},
			{"CL.0", post + "content-length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nhost: b\r\nx: y", "ok", "GET /hidden HTTP/1.1\r\nhost: b\r\nx: y"},
			{"expect another thing", post + "expect: 200-ok\r\ncontent-length: 0\r\n\r\n", "417", ""},
			{"expect twice", post + "expect: 100-continue, x\r\ncontent-length: 0\r\n\r\n", "417", ""},
			{"bytes that are no request after the body", post + "content-length: 5\r\n\r\nhelloXYZ\r\n\r\n", "ok", "hello"},
		},
		"13 upgrades": {
			{"h2c", get + "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n", "ok", ""},
			{"CONNECT that is not enabled", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", "404 kept", ""},
			{"CONNECT with a path", "CONNECT /x HTTP/1.1\r\nhost: a\r\n\r\n", "400", ""},
			{"nearly the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "refused", ""},
			{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400", ""},
		},
	}
}

func contentLengths() []malformed {
	cases := []malformed{
		{"space after", post + "content-length: 5 \r\n\r\nhello", "ok", "hello"},
		{"spaces before", post + "content-length:   5\r\n\r\nhello", "ok", "hello"},
		{"tab before", post + "content-length:\t5\r\n\r\nhello", "ok", "hello"},
	}
	for _, v := range []string{
		"", "+5", "-5", "-0", "0x5", "0x10", "1_0", "5 5", "5,", ",5", "99999999999999999999", "18446744073709551621", "9223372036854775808",
		"1Z", "five", "5.0", "5e0", "\"5\"", "5;", "\v5", "5\x00", "\xa05", "٥",
	} {
		cases = append(cases, malformed{"value " + v, post + "content-length: " + v + "\r\n\r\nhello", "400", ""})
	}
	return cases
}

func transferEncodings() []malformed {
	cases := []malformed{
		{"twice", post + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "501", ""},
		{"chunked and identity", post + "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", "501", ""},
		{"on HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "refused", ""},
		{"space before the colon", post + "transfer-encoding : chunked\r\n\r\n0\r\n\r\n", "400", ""},
		{"tab before the colon", post + "transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", "400", ""},
		{"obs-fold", post + "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400", ""},
		{"underscore and a length", post + "transfer_encoding: chunked\r\ncontent-length: 5\r\n\r\nhello", "400", ""},
		{"other case", post + "Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "ok", "hello"},
		{"space around", post + "transfer-encoding: \tchunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n", "ok", "hello"},
	}
	for _, v := range []string{
		",chunked", "chunked,", "chunked, chunked", "xchunked", "chunkedx", "identity", "chunked;ext=val", "", "gzip", "gzip, chunked", "chunked, gzip",
		"chunked, identity", "\vchunked", "chunked\f", "chunked\x00", "\xa0chunked", "chunked\x85", "\xffchunked", "\"chunked\"", "chun\rked", "trailers",
		"cHUnKeD chunked", "chunked\t,",
	} {
		cases = append(cases, malformed{"value " + v, post + "transfer-encoding: " + v + "\r\n\r\n0\r\n\r\n", "refused", ""})
	}
	return cases
}

func chunkSizes() []malformed {
	cases := []malformed{
		{"upper case", chunked + "A\r\n0123456789\r\n0\r\n\r\n", "ok", "0123456789"},
		{"leading zeros", chunked + "005\r\nhello\r\n000\r\n\r\n", "ok", "hello"},
		{"no last chunk", chunked + "5\r\nhello\r\n\r\n", "400", ""},
	}
	for _, v := range []string{
		"0x5", "+5", "-5", "-0x0", "5_0", " 5", "\t5", "5\t5", "Z", "5Z", "", ";", "FFFFFFFFFFFFFFFF", "10000000000000005", "8000000000000000", "5,", "5\x00",
		"\xef\xbc\x95", "0X5", "5.",
	} {
		cases = append(cases, malformed{"size " + v, chunked + v + "\r\nhello\r\n0\r\n\r\n", "400", ""})
	}
	return cases
}

func headerLines() []malformed {
	cases := []malformed{
		{"no colon", get + "nonsense\r\n\r\n", "400", ""},
		{"empty name", get + ": x\r\n\r\n", "400", ""},
		{"space before the colon", get + "x : y\r\n\r\n", "400", ""},
		{"space before the first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n", "400", ""},
		{"obs-fold with a space", get + "x: a\r\n b\r\n\r\n", "400", ""},
		{"obs-fold with a tab", get + "x: a\r\n\tb\r\n\r\n", "400", ""},
		{"name over two lines", get + "x\r\n-y: a\r\n\r\n", "400", ""},
		{"bare LF between fields", "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", "400", ""},
		{"bare LF everywhere", "GET / HTTP/1.1\nhost: a\n\n", "400", ""},
		{"bare LF at the end", get + "\n", "400", ""},
		{"bare CR at the end", get + "\r\r\n\r\n", "400", ""},
		{"field after a bare CR", get + "x: a\rhost: b\r\n\r\n", "400", ""},
		{"64 KiB line", get + "x: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431", ""},
		{"200 fields", get + strings.Repeat("x: y\r\n", 200) + "\r\n", "431", ""},
		{"10,000 fields", get + strings.Repeat("x: y\r\n", 10000) + "\r\n", "431", ""},
		{"obs-text in a value", get + "x: caf\xc3\xa9\r\n\r\n", "ok", ""},
		{"tab in a value", get + "x: a\tb\r\n\r\n", "ok", ""},
	}
	for _, c := range []string{"\x00", "\r", "\x01", "\v", "\f", "\x7f", "\x1b"} {
		cases = append(cases,
			malformed{"control in a value " + c, get + "x: a" + c + "b\r\n\r\n", "400", ""},
			malformed{"control in a name " + c, get + "x" + c + "y: a\r\n\r\n", "400", ""})
	}
	for _, c := range []string{"\t", "(", ")", "<", "@", ",", ";", "\\", "\"", "/", "[", "]", "?", "=", "{", "}", " ", "\x80", "\xff"} {
		cases = append(cases, malformed{"name with " + c, get + "x" + c + "y: a\r\n\r\n", "400", ""})
	}
	return cases
}

func requestLines() []malformed {
	cases := []malformed{
		{"two empty lines before", "\r\n\r\n" + get + "\r\n", "ok", ""},
		{"many empty lines before", strings.Repeat("\r\n", 100) + get + "\r\n", "400", ""},
		{"no version", "GET /\r\n\r\n", "400", ""},
		{"only a method", "GET\r\n\r\n", "400", ""},
		{"nothing but a space", " \r\n\r\n", "400", ""},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", "426", ""},
	}
	for _, line := range []string{
		"GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET / /x HTTP/1.1",
		"GET / http/1.1", "GET / HTTP/1.32", "GET / HTTP/1.2", "GET / HTTP/1", "GET / HTTP/0.9", "GET / HTTP/2.0", "GET / HTTP/3.1", "GET / HTTP/11.1",
		"GET / HTTP/1.18446744073709551617", "GET / HTTP/1.1x", "GET / HTTP /1.1", "GET / HTTPS/1.1", "GET / XTTP/1.1", "GET / HTTP/1,1",
		"G(T / HTTP/1.1", "G\x00T / HTTP/1.1", "GE\xffT / HTTP/1.1", "GET /a\x00b HTTP/1.1", "GET /a\x01b HTTP/1.1", "GET /a\x7fb HTTP/1.1", "GET a HTTP/1.1",
		"GET *x HTTP/1.1", "GET / HTTP/1.1\rX: y", "GET ftp://a/ HTTP/1.1", "GET ://a/ HTTP/1.1", "GET http:///x HTTP/1.1", "GET ?x HTTP/1.1",
	} {
		cases = append(cases, malformed{"line " + line, line + "\r\nhost: a\r\n\r\n", "refused", ""})
	}
	return append(cases,
		malformed{"LF as separator", "GET\n/ HTTP/1.1\r\nhost: a\r\n\r\n", "400", ""},
		malformed{"fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", "400 kept", ""},
		malformed{"encoded CRLF", "GET /a%0d%0ax:%20y HTTP/1.1\r\nhost: a\r\n\r\n", "ok", ""},
		malformed{"encoded NUL", "GET /a%00b HTTP/1.1\r\nhost: a\r\n\r\n", "ok", ""},
		malformed{"overlong UTF-8 of a slash", "GET /%c0%af HTTP/1.1\r\nhost: a\r\n\r\n", "ok", ""},
		malformed{"overlong target", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nhost: a\r\n\r\n", "431", ""})
}
