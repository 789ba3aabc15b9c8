package proxyproto

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	ppv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	wire "github.com/weftproxy/weft/transport/proxyproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

func compile(t testing.TB, cfg string) (*Filter, *stats.Store, *resource.Problems) {
	t.Helper()
	var m ppv3.ProxyProtocol
	if err := protojson.Unmarshal([]byte("{"+cfg+"}"), &m); err != nil {
		t.Fatal(err)
	}
	env := &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: &resource.Problems{}, Path: "at"}
	f, err := New(env, &m)
	if err != nil {
		t.Fatal(err)
	}
	return f, env.Stats, env.Problems
}

// peers is a connection as the filter sees it, and its peer.
func peers(t testing.TB) (*conn.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := conn.New(nc)
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { _, _ = c.Close(), client.Close() })
	return c, client
}

func v2(t testing.TB, source, destination string, tlvs ...string) string {
	t.Helper()
	h := wire.Header{Version: 2, Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
	for _, tlv := range tlvs {
		var err error
		if h.TLVs, err = wire.AppendTLV(h.TLVs, tlv[0], []byte(tlv[1:])); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const v1 = "PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n"

func TestInspect(t *testing.T) {
	const optional = `"allowRequestsWithoutProxyProtocol": true`
	for _, tt := range []struct {
		name, cfg, in string
		remote, local string // "" as the socket says
		rest          string
		err           string
		stats         map[string]int64
	}{
		{"v1", "", v1 + "GET", "1.2.3.4:1111", "5.6.7.8:80", "GET", "", map[string]int64{"proxy_proto.versions.v1.found": 1}},
		{"v2", "", v2(t, "[2001:db8::1]:1", "[::1]:2") + "GET", "[2001:db8::1]:1", "[::1]:2", "GET", "", map[string]int64{"proxy_proto.versions.v2.found": 1}},
		{"mapped addresses are unmapped", "", v2(t, "1.2.3.4:1", "[2001:db8::1]:2") + "GET", "1.2.3.4:1", "[2001:db8::1]:2", "GET", "", nil},
		{"unknown keeps the addresses", "", "PROXY UNKNOWN\r\nGET", "", "", "GET", "", map[string]int64{"proxy_proto.versions.v1.found": 1}},
		{"LOCAL keeps the addresses", "", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET", "", "", "GET", "", map[string]int64{"proxy_proto.versions.v2.found": 1}},
		{"prefix of statistics", `"statPrefix": "p"`, v1 + "G", "1.2.3.4:1111", "5.6.7.8:80", "G", "", map[string]int64{"proxy_proto.p.versions.v1.found": 1}},
		{"none", "", "GET / HTTP/1.1\r\n", "", "", "", "no header", map[string]int64{"proxy_proto.not_found_disallowed": 1, "downstream_cx_proxy_proto_error": 1}},
		{"none allowed", optional, "GET / HTTP/1.1\r\n", "", "", "GET / HTTP/1.1\r\n", "", map[string]int64{"proxy_proto.not_found_allowed": 1, "downstream_cx_proxy_proto_error": 0}},
		{"almost one allowed", optional, "PROXX", "", "", "PROXX", "", map[string]int64{"proxy_proto.not_found_allowed": 1}},
		{"broken", "", "PROXY TCP4 1.2.3.4\r\n", "", "", "", "six words", map[string]int64{"proxy_proto.versions.v1.error": 1, "downstream_cx_proxy_proto_error": 1}},
		{"broken though none is needed", optional, "PROXY TCP4 1.2.3.4\r\n", "", "", "", "six words", map[string]int64{"proxy_proto.versions.v1.error": 1}},
		{"multicast", "", "PROXY TCP4 224.0.0.1 5.6.7.8 1111 80\r\n", "", "", "", "not an address", map[string]int64{"proxy_proto.versions.v1.error": 1}},
		{"unspecified", "", "PROXY TCP4 1.2.3.4 0.0.0.0 1111 80\r\n", "", "", "", "not an address", nil},
		{"disallowed", `"disallowedVersions": ["V1"]`, v1, "", "", "", "disallowed", map[string]int64{"proxy_proto.versions.v1.disallowed": 1, "downstream_cx_proxy_proto_error": 1}},
		{"the other one is allowed", `"disallowedVersions": ["V1"]`, v2(t, "1.1.1.1:1", "2.2.2.2:2") + "x", "1.1.1.1:1", "2.2.2.2:2", "x", "", nil},
		{"disallowed is not looked for", `"disallowedVersions": ["V1"], ` + optional, v1, "", "", v1, "", map[string]int64{"proxy_proto.not_found_allowed": 1}},
		{"disallowed is not waited for", `"disallowedVersions": ["V1"], ` + optional, "P", "", "", "P", "", map[string]int64{"proxy_proto.not_found_allowed": 1}},
		{"ends early", "", "PROXY TCP4", "", "", "", "EOF", map[string]int64{"downstream_cx_proxy_proto_error": 0}},
		{"large", "", v2(t, "1.1.1.1:1", "2.2.2.2:2", "\xe0"+strings.Repeat("x", 65000)) + "rest", "1.1.1.1:1", "2.2.2.2:2", "rest", "", nil},
	} {
		for _, pieces := range []int{0, 1} {
			t.Run(tt.name, func(t *testing.T) {
				f, store, problems := compile(t, tt.cfg)
				if problems.Len() > 0 {
					t.Fatal(problems.All())
				}
				c, client := peers(t)
				before := *c.Info()
				sent := make(chan struct{})
				go func() { // ends when all is written, or the connection is closed
					defer close(sent)
					if pieces == 0 || len(tt.in) > 1000 {
						_, _ = io.WriteString(client, tt.in)
					} else {
						for i := range len(tt.in) {
							_, _ = io.WriteString(client, tt.in[i:i+1])
						}
					}
					_ = client.(*net.TCPConn).CloseWrite()
				}()
				err := f.Inspect(context.Background(), c)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("error %v, want %q", err, tt.err)
					}
				} else if err != nil {
					t.Fatal(err)
				} else if rest, err := io.ReadAll(c); err != nil || string(rest) != tt.rest {
					t.Errorf("left %q, %v", rest, err)
				}
				<-sent
				want := before
				if tt.remote != "" {
					want.Remote, want.Local = netip.MustParseAddrPort(tt.remote), netip.MustParseAddrPort(tt.local)
				}
				if i := c.Info(); i.Remote != want.Remote || i.Local != want.Local || i.DirectRemote != before.DirectRemote || i.Restored != (tt.remote != "") {
					t.Errorf("info %+v", i)
				}
				for name, n := range tt.stats {
					if got, _ := store.Value(name); got != n {
						t.Errorf("%s is %d, want %d", name, got, n)
					}
				}
			})
		}
	}
}

func TestExtensionsBecomeMetadata(t *testing.T) {
	f, _, _ := compile(t, `"rules": [
		{"tlvType": 224, "onTlvPresent": {"key": "a"}},
		{"tlvType": 225, "onTlvPresent": {"key": "b", "metadataNamespace": "mine"}},
		{"tlvType": 226, "onTlvPresent": {"key": "c", "valueStringEncoding": "BASE64"}}],
		"passThroughTlvs": {"matchType": "INCLUDE", "tlvType": [225, 227]}`)
	c, client := peers(t)
	if _, err := io.WriteString(client, v2(t, "1.1.1.1:1", "2.2.2.2:2", "\xe0one\xff", "\xe1two", "\xe2\x00\x01", "\xe3four", "\xe4five")+"x"); err != nil {
		t.Fatal(err)
	}
	if err := f.Inspect(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	m := c.Info().Metadata
	if m[namespace]["a"] != "one!" || m["mine"]["b"] != "two" || m[namespace]["c"] != "AAE=" || len(m) != 2 {
		t.Errorf("metadata %v", m)
	}
	want, _ := wire.AppendTLV(nil, 0xe1, []byte("two"))
	want, _ = wire.AppendTLV(want, 0xe3, []byte("four"))
	if string(c.Info().ProxyTLVs) != string(want) {
		t.Errorf("passed on %q", c.Info().ProxyTLVs)
	}
}

func TestCompileRefuses(t *testing.T) {
	for cfg, want := range map[string]string{
		`"disallowedVersions": ["V1", "V2"]`: "both versions are disallowed",
		`"rules": [{"tlvType": 256}]`:        "256 is not the type",
	} {
		if _, _, p := compile(t, cfg); !p.HasErrors() || !strings.Contains(p.All()[0].Message, want) {
			t.Errorf("%s: %v", cfg, p.All())
		}
	}
}
