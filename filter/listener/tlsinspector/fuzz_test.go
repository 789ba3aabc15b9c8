package tlsinspector

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
)

// seeds are bodies of ClientHello messages.
func seeds(f *testing.F) [][]byte {
	all := [][]byte{body(0x303, []uint16{0x1301}, serverName("example.com"), alpn("h2", "http/1.1")), body(0x301, []uint16{47}), nil}
	for _, cfg := range []*tls.Config{
		{ServerName: "a.example", NextProtos: []string{"h2"}},
		{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, //nolint:gosec // nothing is sent
	} {
		records := helloOf(f, cfg)
		all = append(all, records[recordHeader+messageHeader:])
	}
	return all
}

// FuzzClientHello compares what a ClientHello says to crypto/tls with what it says to the filter, in records of any size that arrive in any
// pieces.
func FuzzClientHello(f *testing.F) {
	for _, body := range seeds(f) {
		f.Add(body, uint16(maxRecord), uint16(100))
		f.Add(body, uint16(5), uint16(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, size, step uint16) {
		if len(body) > 8<<10 {
			return
		}
		in := records(body, min(max(int(size), 1), maxRecord))
		if len(in) > maxLimit {
			return
		}
		want, accepted := reference(in)
		s := scanner{limit: maxLimit}
		v := undecided
		for n := 0; v == undecided && n < len(in); {
			n = min(n+1+int(step), len(in))
			v = s.scan(in[:n])
		}
		if v != found {
			t.Fatalf("verdict %d", v)
		}
		var h hello
		if ok := h.parse(s.message(in, make([]byte, s.size()))); !ok {
			if accepted && len(want.ServerName) <= maxName && !strings.Contains(want.ServerName, "\x00") {
				t.Fatal("refused, and crypto/tls accepts it")
			}
			return
		}
		_, _ = h.ja3(), h.ja4()
		if accepted && (string(h.name) != want.ServerName || !slices.Equal(protocols(h.alpn), want.SupportedProtos)) {
			t.Fatalf("%q %q, crypto/tls has %q %q", h.name, protocols(h.alpn), want.ServerName, want.SupportedProtos)
		}
	})
}

// reference is what crypto/tls says.
func reference(in []byte) (*tls.ClientHelloInfo, bool) {
	var got *tls.ClientHelloInfo
	cfg := &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		got = info
		return nil, errors.New("enough")
	}}
	_ = tls.Server(&tape{in: bytes.NewReader(in)}, cfg).Handshake() // fails, at the latest when it has asked
	return got, got != nil
}

// FuzzScanner feeds the beginning of a connection in pieces and at once: the verdicts are the same, and nothing beyond the limit is looked at.
func FuzzScanner(f *testing.F) {
	for _, body := range seeds(f) {
		f.Add(records(body, maxRecord), uint16(50), uint16(0))
		f.Add(records(body, 7), uint16(3), uint16(200))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(1), uint16(300))
	f.Fuzz(func(t *testing.T, in []byte, step, limit uint16) {
		whole := scanner{limit: int(limit) + 1}
		want := whole.scan(in)
		pieces := scanner{limit: int(limit) + 1}
		got := undecided
		for n := 0; got == undecided && n < len(in); {
			n = min(n+1+int(step), len(in))
			got = pieces.scan(in[:n])
		}
		if got != want {
			t.Fatalf("%d whole, %d in pieces", want, got)
		}
		if want == found {
			var h hello
			_ = h.parse(whole.message(in, make([]byte, whole.size())))
		}
	})
}
