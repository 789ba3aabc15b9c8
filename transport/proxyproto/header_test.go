package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func v2(parts ...string) []byte { return []byte(sig2 + strings.Join(parts, "")) }

func TestDecode(t *testing.T) {
	four := "\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50"
	for _, tt := range []struct {
		name string
		in   []byte
		want Header
		err  string
	}{
		{"v1 TCP4", []byte("PROXY TCP4 1.2.3.4 5.6.7.8 4660 80\r\nGET"), Header{Version: 1, Source: addr("1.2.3.4:4660"), Destination: addr("5.6.7.8:80")}, ""},
		{"v1 TCP6", []byte("PROXY TCP6 2001:db8::1 ::1 1 65535\r\nx"), Header{Version: 1, Source: addr("[2001:db8::1]:1"), Destination: addr("[::1]:65535")}, ""},
		{"v1 unknown", []byte("PROXY UNKNOWN ff whatever 1\r\nx"), Header{Version: 1, Local: true}, ""},
		{"v1 bare unknown", []byte("PROXY UNKNOWN\r\nx"), Header{Version: 1, Local: true}, ""},
		{"v1 family mismatch", []byte("PROXY TCP4 ::1 ::1 1 2\r\n"), Header{}, "malformed address"},
		{"v1 port too large", []byte("PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n"), Header{}, "malformed address"},
		{"v1 port with zero", []byte("PROXY TCP4 1.2.3.4 5.6.7.8 080 80\r\n"), Header{}, "malformed address"},
		{"v1 negative port", []byte("PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n"), Header{}, "malformed address"},
		{"v1 zone", []byte("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), Header{}, "malformed address"},
		{"v1 double space", []byte("PROXY TCP4  1.2.3.4 5.6.7.8 1 80\r\n"), Header{}, "six words"},
		{"v1 bare LF", []byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 80\n"), Header{}, "carriage return"},
		{"v1 UDP", []byte("PROXY UDP4 1.2.3.4 5.6.7.8 1 80\r\n"), Header{}, "unknown protocol"},
		{"v1 endless", []byte("PROXY " + strings.Repeat("x", 200)), Header{}, "107"},
		{"v2 TCP4", v2("\x21\x11\x00\x0c", four, "GET"), Header{Version: 2, Source: addr("1.2.3.4:4660"), Destination: addr("5.6.7.8:80")}, ""},
		{"v2 UDP4", v2("\x21\x12\x00\x0c", four, "x"), Header{Version: 2, Source: addr("1.2.3.4:4660"), Destination: addr("5.6.7.8:80")}, ""},
		{"v2 TLV", v2("\x21\x11\x00\x11", four, "\xe0\x00\x02hi", "x"), Header{Version: 2, Source: addr("1.2.3.4:4660"), Destination: addr("5.6.7.8:80"), TLVs: []byte("\xe0\x00\x02hi")}, ""},
		{"v2 TLV beyond the end", v2("\x21\x11\x00\x11", four, "\xe0\x00\x03hi", "x"), Header{}, "extension"},
		{"v2 TLV cut", v2("\x21\x11\x00\x0e", four, "\xe0\x00", "x"), Header{}, "extension"},
		{"v2 LOCAL", v2("\x20\x00\x00\x00", "x"), Header{Version: 2, Local: true}, ""},
		{"v2 LOCAL with block", v2("\x20\x11\x00\x0c", four, "x"), Header{Version: 2, Local: true}, ""},
		{"v2 unix", v2("\x21\x31\x00\xd8", strings.Repeat("a", 216)), Header{}, "address family"},
		{"v2 unspecified", v2("\x21\x01\x00\x00"), Header{}, "address family"},
		{"v2 unspecified transport", v2("\x21\x10\x00\x0c", four), Header{}, "transport"},
		{"v2 version 3", v2("\x31\x11\x00\x0c", four), Header{}, "version"},
		{"v2 command 2", v2("\x22\x11\x00\x0c", four), Header{}, "version"},
		{"v2 too short", v2("\x21\x11\x00\x0b", four), Header{}, "too short"},
		{"nothing of the kind", []byte("GET / HTTP/1.1\r\n"), Header{}, "no header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, n, _, err := Decode(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || n == 0 {
				t.Fatalf("n %d, error %v", n, err)
			}
			if h.Version != tt.want.Version || h.Local != tt.want.Local || h.Source != tt.want.Source || h.Destination != tt.want.Destination || !bytes.Equal(h.TLVs, tt.want.TLVs) {
				t.Errorf("got %+v, want %+v", h, tt.want)
			}
			for cut := range n { // every prefix wants more, and says so
				_, got, need, err := Decode(tt.in[:cut])
				if got != 0 || err != nil || need <= cut || need > n {
					t.Fatalf("cut to %d of %d: n %d, need %d, error %v", cut, n, got, need, err)
				}
			}
		})
	}
}

func TestAppendMixesFamiliesAsIPv6(t *testing.T) {
	for _, version := range []int{1, 2} {
		in := Header{Version: version, Source: addr("1.2.3.4:5"), Destination: addr("[::1]:6")}
		b, err := in.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		h, n, _, err := Decode(b)
		if err != nil || n != len(b) || h.Source.Addr() != netip.MustParseAddr("::ffff:1.2.3.4") || h.Destination != in.Destination {
			t.Errorf("v%d: %+v %d %v", version, h, n, err)
		}
	}
}

func TestAppendNeedsAddresses(t *testing.T) {
	for _, version := range []int{1, 2} {
		if _, err := (&Header{Version: version}).Append(nil); err == nil {
			t.Errorf("v%d: no error", version)
		}
	}
}

func FuzzProxyProto(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 4660 80\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("PROXY TCP6 ::1 ::2 1 2\r\n"))
	f.Add(v2("\x21\x11\x00\x11", "\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50", "\xe0\x00\x02hi"))
	f.Add(v2("\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, need, err := Decode(b)
		switch {
		case err != nil:
			var e *Error
			if n != 0 || (!errors.As(err, &e) && !errors.Is(err, ErrNoHeader)) {
				t.Fatalf("n %d with error %v", n, err)
			}
			return
		case n == 0:
			if need <= len(b) || need > MaxV2 {
				t.Fatalf("needs %d bytes, has %d", need, len(b))
			}
			return
		case n > len(b):
			t.Fatalf("consumed %d of %d", n, len(b))
		}
		wire, err := h.Append(nil)
		if err != nil {
			t.Fatalf("encode %+v: %v", h, err)
		}
		again, m, _, err := Decode(wire)
		if err != nil || m != len(wire) || again.Source != h.Source || again.Destination != h.Destination || !bytes.Equal(again.TLVs, h.TLVs) {
			t.Fatalf("%+v became %+v: %v", h, again, err)
		}
	})
}
