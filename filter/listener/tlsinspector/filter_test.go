package tlsinspector

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

// counted are the counters that an inspection may add to.
var counted = strings.Fields("client_hello_too_large tls_found tls_not_found alpn_found alpn_not_found sni_found sni_not_found")

// wantCounted fails the test unless those named, and no others, are 1.
func wantCounted(t *testing.T, store *stats.Store, want string) {
	t.Helper()
	for _, name := range counted {
		n, _ := store.Value("tls_inspector." + name)
		if wanted := slices.Contains(strings.Fields(want), name); (n == 1) != wanted || n > 1 {
			t.Errorf("%s is %d", name, n)
		}
	}
}

var inspections = []struct {
	name       string
	in         []byte
	tls        bool
	server     string
	alpn       string
	counted    string
	undecided  bool // the peer ends before it is clear
	inspection error
}{
	{name: "name and protocols", in: records(body(0x303, []uint16{1}, serverName("Example.COM"), alpn("h2", "http/1.1")), maxRecord), tls: true,
		server: "example.com", alpn: "h2,http/1.1", counted: "tls_found sni_found alpn_found"},
	{name: "protocols that few offer", in: records(body(0x303, []uint16{1}, alpn("a", "some/2", "h2")), maxRecord), tls: true,
		alpn: "a,some/2,h2", counted: "tls_found sni_not_found alpn_found"},
	{name: "name only", in: records(body(0x303, []uint16{1}, ext{0xaaaa, nil}, serverName("a")), maxRecord), tls: true,
		server: "a", counted: "tls_found sni_found alpn_not_found"},
	{name: "no extensions", in: records(body(0x301, []uint16{1}), maxRecord), tls: true, counted: "tls_found sni_not_found alpn_not_found"},
	{name: "many records", in: records(body(0x303, []uint16{1}, serverName("example.com"), alpn("h2")), 3), tls: true,
		server: "example.com", alpn: "h2", counted: "tls_found sni_found alpn_found"},
	{name: "more after it", in: append(records(body(0x303, []uint16{1}, serverName("example.com")), maxRecord), 20, 3, 3, 0, 1, 1), tls: true,
		server: "example.com", counted: "tls_found sni_found alpn_not_found"},
	{name: "another type of name", in: records(body(0x303, nil, ext{extServerName, vec(2, append([]byte{7}, vec(2, []byte("x"))...))}), maxRecord), tls: true,
		counted: "tls_found sni_not_found alpn_not_found"},
	{name: "malformed protocols", in: records(body(0x303, nil, ext{extALPN, vec(2, []byte{0})}), maxRecord), tls: true,
		counted: "tls_found sni_not_found alpn_not_found"},
	{name: "name twice", in: records(body(0x303, nil, serverName("a"), serverName("b")), maxRecord), counted: "tls_not_found"},
	{name: "name with a zero", in: records(body(0x303, nil, serverName("a\x00b")), maxRecord), counted: "tls_not_found"},
	{name: "name too long", in: records(body(0x303, nil, serverName(strings.Repeat("a", 256))), maxRecord), counted: "tls_not_found"},
	{name: "empty name", in: records(body(0x303, nil, serverName("")), maxRecord), counted: "tls_not_found"},
	{name: "extension without end", in: records(append(body(0x303, nil), 0, 5, 0, 0, 0, 9, 1), maxRecord), counted: "tls_not_found"},
	{name: "bytes after the extensions", in: records(append(body(0x303, nil, alpn("h2")), 1), maxRecord), counted: "tls_not_found"},
	{name: "odd ciphers", in: records(append(append(make([]byte, 34), 0, 0, 3, 1, 1, 1), 1, 0), maxRecord), counted: "tls_not_found"},
	{name: "truncated message", in: records([]byte{3, 3}, maxRecord), counted: "tls_not_found"},
	{name: "HTTP", in: []byte("GET / HTTP/1.1\r\n\r\n"), counted: "tls_not_found"},
	{name: "one byte", in: []byte("x"), counted: "tls_not_found"},
	{name: "another version", in: []byte{22, 2}, counted: "tls_not_found"},
	{name: "another message", in: []byte{22, 3, 1, 0, 9, 2}, counted: "tls_not_found"},
	{name: "empty record", in: []byte{22, 3, 1, 0, 0}, counted: "tls_not_found"},
	{name: "long record", in: []byte{22, 3, 1, 0x40, 1}, counted: "tls_not_found"},
	{name: "another record amid the message", in: append(records(body(0x303, nil), 3)[:16], 21, 3, 3, 0, 2, 1, 0), counted: "tls_not_found"},
	{name: "nothing", undecided: true},
	{name: "half a header", in: []byte{22, 3, 1}, undecided: true},
	{name: "half a message", in: records(body(0x303, nil, serverName("example.com")), maxRecord)[:50], undecided: true},
}

func TestInspect(t *testing.T) {
	for _, tt := range inspections {
		for _, step := range []int{1 << 20, 7, 1} {
			t.Run(tt.name, func(t *testing.T) {
				f, store := build(t, &inspectorv3.TlsInspector{})
				c, client := peers(t)
				c.Info().TransportProtocol = "raw_buffer"
				wait := send(client, tt.in, step)
				err := f.Inspect(context.Background(), c)
				if (err == io.EOF) != tt.undecided || err != nil && err != io.EOF {
					t.Errorf("Inspect says %v", err)
				}
				info := c.Info()
				if (info.TransportProtocol == "tls") != tt.tls || info.ServerName != tt.server || strings.Join(info.ALPN, ",") != tt.alpn {
					t.Errorf("%q, %q, %q", info.TransportProtocol, info.ServerName, info.ALPN)
				}
				wantCounted(t, store, tt.counted)
				reason := info.Metadata[name]["failure_reason"]
				if missing := tt.counted == "tls_not_found"; (reason == "ClientHelloNotDetected") != missing {
					t.Errorf("failure_reason %q", reason)
				}
				wait()
				if left := readAll(t, c); !bytes.Equal(left, tt.in) {
					t.Errorf("left %q", left)
				}
			})
		}
	}
}

// padded is a ClientHello of size bytes with its record header.
func padded(size int) []byte {
	const others = recordHeader + messageHeader + 2 + 32 + 33 + 4 + 2 + 2 + 4
	return records(body(0x303, []uint16{1}, ext{21, make([]byte, size-others)}), maxRecord)
}

func TestTheLimitIsKept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit uint32 // 0: the default one
		size  int    // of the ClientHello, in records of size parts
		parts int
		large bool
	}{
		{"below the default", 0, defaultLimit - 1, 0, false},
		{"at the default", 0, defaultLimit, 0, false},
		{"beyond the default", 0, defaultLimit + 100, 0, true},
		{"far beyond the default", 0, 60000, 0, true},
		{"small", 300, 300, 0, false},
		{"beyond small", 300, 301, 0, true},
		{"largest", maxLimit, maxLimit - 1000, 0, false},
		{"beyond the largest", maxLimit, maxLimit + 100, 0, true},
		{"many records", maxLimit, 5000, 1, false},
		{"too many records", maxLimit, 12000, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &inspectorv3.TlsInspector{}
			if tt.limit != 0 {
				cfg.MaxClientHelloSize = wrapperspb.UInt32(tt.limit)
			}
			f, store := build(t, cfg)
			c, client := peers(t)
			in := padded(tt.size)
			switch {
			case tt.parts != 0:
				in = records(body(0x303, nil, ext{21, make([]byte, tt.size)}), tt.parts)
			case tt.size > maxRecord+recordHeader:
				in = records(body(0x303, nil, ext{21, make([]byte, tt.size/2)}, ext{22, make([]byte, tt.size-tt.size/2-100)}), maxRecord)
			}
			wait := send(client, in, 1<<20)
			err := f.Inspect(context.Background(), c)
			if tt.large {
				if err != errTooLarge || c.Info().Metadata[name]["failure_reason"] != "ClientHelloTooLarge" || c.Info().TransportFailure != "ClientHelloTooLarge" {
					t.Errorf("%v, %v", err, c.Info().Metadata)
				}
				wantCounted(t, store, "client_hello_too_large")
				_ = c.Close()
				wait()
				return
			}
			if err != nil || c.Info().TransportProtocol != "tls" {
				t.Errorf("%v, %q", err, c.Info().TransportProtocol)
			}
			wantCounted(t, store, "tls_found sni_not_found alpn_not_found")
			wait()
			if left := readAll(t, c); !bytes.Equal(left, in) {
				t.Errorf("%d bytes left of %d", len(left), len(in))
			}
		})
	}
}

func TestALimitBeyondTheLargestIsRefused(t *testing.T) {
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: &resource.Problems{}}
	_, err := Extension().New(env, &inspectorv3.TlsInspector{MaxClientHelloSize: wrapperspb.UInt32(maxLimit + 1)})
	if err == nil || !strings.Contains(err.Error(), "max_client_hello_size of 65537 is greater than maximum of 65536") {
		t.Error(err)
	}
}

func TestAStrictFilterClosesWhatIsNotTLS(t *testing.T) {
	f, store := build(t, &inspectorv3.TlsInspector{CloseConnectionOnClientHelloParsingErrors: true})
	c := onTape([]byte("GET / HTTP/1.1\r\n\r\n"))
	if err := f.Inspect(context.Background(), c); err != errNotTLS || c.Info().TransportFailure != "ClientHelloNotDetected" {
		t.Errorf("%v, %q", err, c.Info().TransportFailure)
	}
	wantCounted(t, store, "")
	c = onTape(helloOf(t, &tls.Config{ServerName: "example.com"}))
	if err := f.Inspect(context.Background(), c); err != nil || c.Info().ServerName != "example.com" {
		t.Errorf("%v, %q", err, c.Info().ServerName)
	}
	wantCounted(t, store, "tls_found sni_found alpn_not_found")
}

func TestBytesProcessed(t *testing.T) {
	hello := records(body(0x303, nil, serverName("example.com")), maxRecord)
	for _, tt := range []struct {
		in   []byte
		want string
	}{
		{append(bytes.Clone(hello), "and more"...), strconv.Itoa(len(hello))},
		{[]byte("GET / HTTP/1.1\r\n\r\n"), "5"},
	} {
		f, store := build(t, &inspectorv3.TlsInspector{})
		if err := f.Inspect(context.Background(), onTape(tt.in)); err != nil {
			t.Fatal(err)
		}
		if got := processed(t, store); got != tt.want {
			t.Errorf("%q: %s bytes", tt.in, got)
		}
	}
}

// What http_inspector has found out stays.
func TestPlainConnectionsKeepTheirProtocol(t *testing.T) {
	f, _ := build(t, &inspectorv3.TlsInspector{})
	c := onTape([]byte("GET / HTTP/1.1\r\n\r\n"))
	c.Info().TransportProtocol, c.Info().ALPN = "raw_buffer", []string{"http/1.1"}
	if err := f.Inspect(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if info := c.Info(); info.TransportProtocol != "raw_buffer" || !slices.Equal(info.ALPN, []string{"http/1.1"}) {
		t.Errorf("%q, %q", info.TransportProtocol, info.ALPN)
	}
}

func TestAWakeEndsTheWait(t *testing.T) {
	f, _ := build(t, &inspectorv3.TlsInspector{})
	c, _ := peers(t)
	cause := errors.New("timeout")
	c.Wake(cause)
	if err := f.Inspect(context.Background(), c); err != cause {
		t.Error(err)
	}
}

func TestInspectAllocatesOnlyTheName(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  *tls.Config
	}{
		{"typical", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}},
		{"post-quantum", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := build(t, &inspectorv3.TlsInspector{})
			c := onTape(helloOf(t, tt.cfg))
			if _, err := c.Peek(1); err != nil {
				t.Fatal(err)
			}
			inspect := func() {
				if err := f.Inspect(context.Background(), c); err != nil {
					t.Fatal(err)
				}
			}
			if n := testing.AllocsPerRun(100, inspect); n > 1 {
				t.Errorf("%v allocations", n)
			}
			if c.Info().ServerName != "www.example.com" {
				t.Errorf("name %q", c.Info().ServerName)
			}
		})
	}
}

func BenchmarkInspect(b *testing.B) {
	for _, bb := range []struct {
		name string
		cfg  *tls.Config
	}{
		{"typical", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}},
		{"mlkem", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			f, _ := build(b, &inspectorv3.TlsInspector{})
			hello := helloOf(b, bb.cfg)
			c := onTape(hello)
			if _, err := c.Peek(1); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(hello)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Inspect(context.Background(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
