package proxyproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
)

// An inner is a transport socket that writes a word.
type inner struct {
	word string
	told socket.Options
	fail error
}

func (i *inner) Features() socket.Features {
	return socket.Features{Secure: true, ALPN: []string{"h2"}}
}

func (i *inner) Handshake(c *conn.Conn, o socket.Options) error {
	i.told = o
	_, _ = io.WriteString(c, i.word)
	return i.fail
}

const rawSocket = `{"name": "raw", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}`

// compile builds a transport socket around in, nil for the plain one.
func compile(t *testing.T, in *inner, config string) (socket.Client, *resource.Problems, *stats.Store) {
	t.Helper()
	m := &upstreamv3.ProxyProtocolUpstreamTransport{}
	around := rawSocket
	if in != nil {
		around = strings.Replace(rawSocket, "raw_buffer.v3.RawBuffer", "tls.v3.UpstreamTlsContext", 1)
	}
	if err := protojson.Unmarshal([]byte(`{"config": `+config+`, "transportSocket": `+around+`}`), m); err != nil {
		t.Fatal(err)
	}
	reg, err := socket.NewRegistry(socket.Factory{Config: &tlsv3.UpstreamTlsContext{},
		NewClient: func(*socket.Env, proto.Message) (socket.Client, error) { return in, nil }})
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore(stats.Options{})
	p := resource.NewProblems("")
	s, err := Upstream().NewClient(&socket.Env{Sockets: reg, Stats: store.Scope("cluster.c."), Log: slog.New(slog.DiscardHandler), Path: "at", Problems: p}, m)
	if err != nil {
		t.Fatal(err)
	}
	return s, p, store
}

// sent returns what a handshake writes, and the connection that it was made on.
func sent(t *testing.T, s socket.Client, o socket.Options) (string, *conn.Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	_ = far.SetDeadline(time.Now().Add(20 * time.Second))
	c := conn.New(near)
	defer func() { _ = c.Close() }()
	failed := s.Handshake(c, o)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), c, failed
}

func downstream(from, to, tlvs string) *conn.Info {
	return &conn.Info{Remote: addr(from), Local: addr(to), ProxyTLVs: []byte(tlvs)}
}

func TestUpstreamHeaders(t *testing.T) {
	four := "\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50"
	tlvs := "\xe0\x00\x01a\xe1\x00\x01b\x02\x00\x01c"
	down := downstream("1.2.3.4:4660", "5.6.7.8:80", tlvs)
	for _, tt := range []struct {
		name, config string
		down         *conn.Info
		want         string
	}{
		{"v1", `{}`, down, "PROXY TCP4 1.2.3.4 5.6.7.8 4660 80\r\n"},
		{"v1 of IPv6", `{}`, downstream("[2001:db8::1]:1", "[::1]:65535", ""), "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"},
		{"v1 leaves TLVs out", `{"passThroughTlvs": {}, "addedTlvs": [{"type": 225, "value": "aGk="}]}`, down, "PROXY TCP4 1.2.3.4 5.6.7.8 4660 80\r\n"},
		{"v1 without addresses", `{}`, &conn.Info{}, "PROXY UNKNOWN\r\n"},
		{"v2", `{"version": "V2"}`, down, sig2 + "\x21\x11\x00\x0c" + four},
		{"v2 for nobody", `{"version": "V2", "addedTlvs": [{"type": 225, "value": "aGk="}]}`, nil, sig2 + "\x20\x00\x00\x00"},
		{"v2 without addresses", `{"version": "V2"}`, &conn.Info{}, sig2 + "\x20\x00\x00\x00"},
		{"all passed on", `{"version": "V2", "passThroughTlvs": {}}`, down, sig2 + "\x21\x11\x00\x18" + four + tlvs},
		{"some passed on", `{"version": "V2", "passThroughTlvs": {"matchType": "INCLUDE", "tlvType": [2, 225]}}`, down,
			sig2 + "\x21\x11\x00\x14" + four + "\xe1\x00\x01b\x02\x00\x01c"},
		{"none passed on", `{"version": "V2", "passThroughTlvs": {"matchType": "INCLUDE"}}`, down, sig2 + "\x21\x11\x00\x0c" + four},
		{"added", `{"version": "V2", "addedTlvs": [{"type": 240, "value": "aGk="}]}`, down, sig2 + "\x21\x11\x00\x11" + four + "\xf0\x00\x02hi"},
		{"added before passed on", `{"version": "V2", "passThroughTlvs": {}, "addedTlvs": [{"type": 225, "value": "aGk="}]}`, down,
			sig2 + "\x21\x11\x00\x19" + four + "\xe1\x00\x02hi\xe0\x00\x01a\x02\x00\x01c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &inner{word: "inner"}
			s, p, _ := compile(t, in, tt.config)
			if p.HasErrors() {
				t.Fatal(p.All())
			}
			got, _, err := sent(t, s, socket.Options{SNI: "sni", Downstream: tt.down})
			if err != nil || got != tt.want+"inner" {
				t.Errorf("%v, sent\n%q, want\n%q", err, got, tt.want+"inner")
			}
			if in.told.SNI != "sni" {
				t.Errorf("the inner socket was told %+v", in.told)
			}
			if f := s.Features(); !f.PerPeer || !f.Secure || len(f.ALPN) != 1 {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestVersion1ForNobodyHasItsOwnAddresses(t *testing.T) {
	s, _, _ := compile(t, nil, `{}`)
	got, c, err := sent(t, s, socket.Options{})
	want, _ := (&Header{Version: 1, Source: c.Info().DirectLocal, Destination: c.Info().DirectRemote}).Append(nil)
	if err != nil || got != string(want) {
		t.Errorf("%v, %q, want %q", err, got, want)
	}
	if f := s.Features(); !f.PerPeer || f.Secure {
		t.Errorf("%+v", f)
	}
}

func TestTLVsThatAreTooLongAreLeftOut(t *testing.T) {
	long, _ := json.Marshal(bytes.Repeat([]byte("x"), 40000))
	s, p, store := compile(t, nil, `{"version": "V2", "addedTlvs": [{"type": 240, "value": `+string(long)+`}, {"type": 241, "value": `+string(long)+`}]}`)
	if p.HasErrors() {
		t.Fatal(p.All())
	}
	got, _, err := sent(t, s, socket.Options{Downstream: downstream("1.2.3.4:4660", "5.6.7.8:80", "")})
	if err != nil || len(got) != 28 {
		t.Errorf("%v, %d bytes", err, len(got))
	}
	if n, _ := store.Value("cluster.c.upstream.proxyprotocol.v2_tlvs_exceed_max_length"); n != 1 {
		t.Errorf("v2_tlvs_exceed_max_length is %d", n)
	}
}

func TestInnerHandshakeMayFail(t *testing.T) {
	fail := errors.New("no")
	s, _, _ := compile(t, &inner{fail: fail}, `{}`)
	if _, _, err := sent(t, s, socket.Options{}); err != fail {
		t.Error(err)
	}
}

func TestUpstreamConfigurationsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{"version": "V2", "addedTlvs": [{"type": 256, "value": "aGk="}]}`, "at.config.added_tlvs[0].type: not a type of a TLV: 256"},
		{`{"version": "V2", "addedTlvs": [{"type": 1}]}`, "at.config.added_tlvs[0].value: Invalid TLV configuration"},
		{`{"passThroughTlvs": {"tlvType": [1, 256]}}`, "at.config.pass_through_tlvs.tlv_type[1]: not a type of a TLV: 256"},
	} {
		if _, p, _ := compile(t, nil, tt.config); len(p.All()) != 1 || !strings.Contains(p.All()[0].String(), tt.want) {
			t.Errorf("%v, want %s", p.All(), tt.want)
		}
	}
}

func TestUpstreamFieldsThatAreRefused(t *testing.T) {
	s, err := support().Merge(resource.Core(), resource.Values(), resource.Support{
		"envoy.config.core.v3.ProxyProtocolPassThroughTLVs":          resource.Names("match_type tlv_type"),
		"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ fields, want string }{
		{`"config": {"addedTlvs": [{"type": 1, "formatString": {"textFormat": "x"}}]}`, "config.added_tlvs[0].format_string"},
		{`"allowUnspecifiedAddress": true`, "allow_unspecified_address"},
	} {
		m := &upstreamv3.ProxyProtocolUpstreamTransport{}
		if err := protojson.Unmarshal([]byte(`{"transportSocket": `+rawSocket+`, `+tt.fields+`}`), m); err != nil {
			t.Fatal(err)
		}
		p := resource.NewProblems("")
		resource.Check(m, "at", s, protoregistry.GlobalTypes, p)
		if all := p.All(); len(all) != 1 || !strings.Contains(all[0].String(), tt.want) {
			t.Errorf("%v, want %s", all, tt.want)
		}
	}
}

func TestUpstreamSupportNamesEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(support()) {
		t.Error(wrong)
	}
}
