package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/socket"
	"github.com/weftproxy/weft/upstream/pool"
)

// A wrapper is a transport socket that says what it was asked for.
type wrapper struct {
	name string // its sni
	f    socket.Features
	w    *wrappers
}

// wrappers are the transport sockets of a test, and what was asked of them.
type wrappers struct {
	f    socket.Features
	alpn string // that is agreed on
	fail error

	mu   sync.Mutex
	seen []string
}

func (w *wrapper) Features() socket.Features { return w.f }

func (w *wrapper) Handshake(c *conn.Conn, o socket.Options) error {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	sans := fmt.Sprint(o.SANs)
	if len(o.SANs) == 1 && o.SANs[0] == "" {
		sans = `[""]`
	}
	text := fmt.Sprintf("%s sni=%s sans=%s alpn=%v fallback=%v host=%s", w.name, o.SNI, sans, o.ALPN, o.Fallback, o.HostName)
	if d := o.Downstream; d != nil {
		text += fmt.Sprintf(" for %v>%v %q", d.Remote, d.Local, d.ProxyTLVs)
	}
	w.w.seen = append(w.w.seen, text)
	c.Info().TLS = &conn.TLS{ALPN: w.w.alpn}
	if w.w.fail != nil {
		c.Info().TransportFailure = "TLS_error:|" + w.w.fail.Error()
	}
	return w.w.fail
}

// take returns what was asked since the last time.
func (w *wrappers) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := strings.Join(w.seen, "\n")
	w.seen = nil
	return s
}

// wrapped gives a world transport sockets: every UpstreamTlsContext is one, named by its sni.
func wrapped(t *testing.T, w *world, ws *wrappers) {
	t.Helper()
	reg, err := socket.NewRegistry(socket.Factory{Name: "tls", Config: &tlsv3.UpstreamTlsContext{},
		NewClient: func(env *socket.Env, cfg proto.Message) (socket.Client, error) {
			if env.Stats == nil || env.Log == nil || env.Runtime == nil || env.Problems == nil {
				t.Error("the environment lacks something")
			}
			name := cfg.(*tlsv3.UpstreamTlsContext).GetSni()
			if name == "bad" {
				return nil, errors.New("bad name")
			}
			return &wrapper{name: name, f: ws.f, w: ws}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.env.Sockets = reg
}

func tlsSocket(name string) string {
	return `{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: ` + name + "}}"
}

const rawSocket = `{name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}`

// ask makes the host open a connection for a demand; the codecs refuse it, and say which one it was.
func ask(t *testing.T, h *Host, d Demand) string {
	t.Helper()
	_, err := h.Acquire(t.Context(), &d)
	if err == nil {
		t.Fatal("acquired")
	}
	return err.Error()
}

func TestTransportSocketMatches(t *testing.T) {
	matches := "transport_socket: " + tlsSocket("usual") + `
transport_socket_matches:
- {name: plain, match: {mode: raw}, transport_socket: ` + rawSocket + `}
- {name: both, match: {mode: tls, level: 2}, transport_socket: ` + tlsSocket("both") + `}
- {name: mode, match: {mode: tls}, transport_socket: ` + tlsSocket("mode") + `}
`
	labels := func(s string) string {
		return "metadata: {filter_metadata: {envoy.transport_socket_match: {" + s + "}}}"
	}
	for _, tt := range []struct{ name, locality, own, want, counter string }{
		{"nothing", "", "", "usual", "default"},
		{"own", "", labels("mode: tls"), "mode", "mode"},
		{"two labels", "", labels("mode: tls, level: 2"), "both", "both"},
		{"another type", "", labels(`mode: tls, level: "2"`), "mode", "mode"},
		{"raw", "", labels("mode: raw"), "", "plain"},
		{"unknown", "", labels("mode: quic"), "usual", "default"},
		{"locality", labels("mode: tls"), "", "mode", "mode"},
		{"own before locality", labels("mode: raw"), labels("mode: tls"), "mode", "mode"},
		{"locality where own does not match", labels("mode: tls"), labels("mode: quic"), "mode", "mode"},
		{"locality where own says other things", labels("mode: raw"), "metadata: {filter_metadata: {envoy.lb: {canary: true}}}", "", "plain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				ws := &wrappers{f: socket.Features{Secure: true}}
				w.env.HTTP1 = func(HTTP1Options) protocol.Client { return client("h1") }
				wrapped(t, w, ws)
				w.serve("10.0.0.1:80", "")
				c := w.start(static(matches, spot(tt.locality, strings.TrimSpace("10.0.0.1 "+tt.own))))
				h := c.Hosts().All()[0]
				ask(t, h, Demand{})
				if got, _, _ := strings.Cut(ws.take(), " "); got != tt.want {
					t.Errorf("lies on %q, want %q", got, tt.want)
				}
				if (h.Scheme() == "https") != (tt.want != "") {
					t.Errorf("scheme %s", h.Scheme())
				}
				n := c.members.Lane(0).DefaultSocket.Value()
				if tt.counter != "default" {
					if n != 0 {
						t.Errorf("default.total_match_count is %d", n)
					}
					n = c.scope.Counter(tt.counter + ".total_match_count").Value()
				}
				if n != 1 {
					t.Errorf("%s.total_match_count is %d", tt.counter, n)
				}
			})
		})
	}
}

func TestWhatHandshakesAreTold(t *testing.T) {
	down := &conn.Info{Remote: conn.AddrPort(tcpAddr("1.2.3.4:5")), Local: conn.AddrPort(tcpAddr("5.6.7.8:9")), ProxyTLVs: []byte("tlv")}
	auto := "upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, "
	for _, tt := range []struct {
		name, options, host string
		f                   socket.Features
		d                   Demand
		want                string
	}{
		{"h1", "explicit_http_config: {http_protocol_options: {}}", "", socket.Features{Secure: true}, Demand{Name: "a", Downstream: down},
			"s sni= sans=[] alpn=[] fallback=[http/1.1] host="},
		{"h2", "explicit_http_config: {http2_protocol_options: {}}", "", socket.Features{Secure: true}, Demand{},
			"s sni= sans=[] alpn=[] fallback=[h2] host="},
		{"auto", "auto_config: {}", "", socket.Features{Secure: true}, Demand{}, "s sni= sans=[] alpn=[] fallback=[h2 http/1.1] host="},
		{"downstream's", "use_downstream_protocol_config: {}", "", socket.Features{Secure: true}, Demand{Protocol: "HTTP/2"},
			"s sni= sans=[] alpn=[] fallback=[h2] host="},
		{"hostname", "explicit_http_config: {http_protocol_options: {}}", "hostname: named", socket.Features{Secure: true}, Demand{},
			"s sni= sans=[] alpn=[] fallback=[http/1.1] host=named"},
		{"auto_sni", auto + "auto_config: {}", "", socket.Features{Secure: true}, Demand{Name: "example.com", Downstream: down},
			"s sni=example.com sans=[example.com] alpn=[] fallback=[h2 http/1.1] host="},
		{"auto_sni of an address", auto + "auto_config: {}", "", socket.Features{Secure: true}, Demand{Name: "9.9.9.9", NameIsIP: true},
			"s sni= sans=[9.9.9.9] alpn=[] fallback=[h2 http/1.1] host="},
		{"auto_sni of nothing", auto + "auto_config: {}", "", socket.Features{Secure: true}, Demand{},
			`s sni= sans=[""] alpn=[] fallback=[h2 http/1.1] host=`},
		{"per peer", "explicit_http_config: {http_protocol_options: {}}", "", socket.Features{PerPeer: true}, Demand{Name: "a", Downstream: down},
			`s sni= sans=[] alpn=[] fallback=[http/1.1] host= for 1.2.3.4:5>5.6.7.8:9 "tlv"`},
		{"per peer for nobody", "explicit_http_config: {http_protocol_options: {}}", "", socket.Features{PerPeer: true}, Demand{},
			"s sni= sans=[] alpn=[] fallback=[http/1.1] host="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *world) {
				w := bilingual(t)
				ws := &wrappers{f: tt.f}
				wrapped(t, w, ws)
				w.serve("10.0.0.1:80", "")
				m := typed(tt.options)
				if tt.host != "" {
					m = strings.ReplaceAll(m, "endpoint: {address", "endpoint: {"+tt.host+", address")
				}
				c := w.start("transport_socket: " + tlsSocket("s") + "\n" + m)
				ask(t, c.Hosts().All()[0], tt.d)
				if got := ws.take(); got != tt.want {
					t.Errorf("told\n%s, want\n%s", got, tt.want)
				}
			})
		})
	}
}

func TestAutoConfigTakesTheCodecThatWasAgreedOn(t *testing.T) {
	for alpn, want := range map[string]string{"h2": "h2", "http/1.1": "h1", "": "h1"} {
		bubble(t, func(t *testing.T, _ *world) {
			w := bilingual(t)
			wrapped(t, w, &wrappers{f: socket.Features{Secure: true}, alpn: alpn})
			w.serve("10.0.0.1:80", "")
			c := w.start("transport_socket: " + tlsSocket("s") + "\n" + typed("auto_config: {}"))
			if got := ask(t, c.Hosts().All()[0], Demand{Protocol: "HTTP/2"}); !strings.HasSuffix(got, "opened by "+want) {
				t.Errorf("%q: %s, want %s", alpn, got, want)
			}
		})
	}
}

func TestFailedHandshakeSaysWhy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		wrapped(t, w, &wrappers{fail: errors.New("no")})
		w.serve("10.0.0.1:80", "")
		c := w.start(static("transport_socket: "+tlsSocket("s"), spot("", "10.0.0.1")))
		_, err := c.Hosts().All()[0].Acquire(t.Context(), &Demand{})
		var e *pool.Error
		if !errors.As(err, &e) || e.Kind != pool.RemoteFailure || e.Reason != "TLS_error:|no" {
			t.Errorf("%v", err)
		}
	})
}

func TestTransportSocketsAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"factory", static("transport_socket: "+tlsSocket("bad"), spot("", "10.0.0.1")), "transport_socket.typed_config: bad name"},
		{"match", static("transport_socket_matches: [{name: m, transport_socket: "+tlsSocket("bad")+"}]", spot("", "10.0.0.1")),
			"transport_socket_matches[0].transport_socket.typed_config: bad name"},
		{"unknown", static(`transport_socket: {name: alts, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}`,
			spot("", "10.0.0.1")), "transport socket alts (envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext) is not supported"},
		{"auto_config without TLS", typed("auto_config: {}"), "ALPN configured for cluster web which has a non-ALPN transport socket"},
		{"auto_config with one plain match", "transport_socket: " + tlsSocket("s") + "\ntransport_socket_matches: [{name: m, transport_socket: " + rawSocket + "}]\n" +
			typed("auto_config: {}"), "ALPN configured for cluster web which has a non-ALPN transport socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := bilingual(t)
			wrapped(t, w, &wrappers{f: socket.Features{Secure: true}})
			p := resource.NewProblems("")
			Compile(w.env, parse(t, tt.config), "cluster", p)
			if all := p.All(); len(all) != 1 || !strings.Contains(all[0].String(), tt.want) {
				t.Errorf("%v, want %s", all, tt.want)
			}
		})
	}
}

func TestPoolsApart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ws := &wrappers{f: socket.Features{Secure: true}}
		wrapped(t, w, ws)
		s := w.serve("10.0.0.1:80", "")
		c := w.start("transport_socket: " + tlsSocket("s") + "\n" +
			typed("upstream_http_protocol_options: {auto_sni: true}, explicit_http_config: {http_protocol_options: {}}"))
		h := c.Hosts().All()[0]
		open := func(name string) (reused bool) {
			time.Sleep(time.Millisecond)
			l, err := h.Acquire(t.Context(), &Demand{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			return l.Reused
		}
		for i, tt := range []struct {
			name   string
			reused bool
		}{{"a", false}, {"a", true}, {"b", false}, {"a", true}, {"b", true}, {"", false}, {"", true}} {
			if got := open(tt.name); got != tt.reused {
				t.Errorf("%d: %q reused %v", i, tt.name, got)
			}
		}
		if n := len(c.allPools()); n != 3 {
			t.Errorf("%d pools", n)
		}
		// Very many names do not leave very many pools.
		for i := range mostApart + 50 {
			open(fmt.Sprintf("n%d", i))
		}
		if n := len(c.allPools()); n > mostApart+1 {
			t.Errorf("%d pools", n)
		}
		if open("b") {
			t.Error("the one that was unused the longest is still there")
		}
		synctest.Wait()
		_, conns := s.last()
		if total := c.Stats(0).CxTotal.Value(); total != uint64(conns) || total != mostApart+50+4 {
			t.Errorf("%d connections, %d seen", total, conns)
		}
		if active := c.Stats(0).CxActive.Value(); active > mostApart+1 {
			t.Errorf("%d connections are open", active)
		}
		c.Drain(t.Context())
		if active := c.Stats(0).CxActive.Value(); active != 0 {
			t.Errorf("%d connections are open after Drain", active)
		}
	})
}

func TestTooManyPoolsInUseOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		wrapped(t, w, &wrappers{f: socket.Features{Secure: true}})
		w.serve("10.0.0.1:80", "")
		c := w.start("transport_socket: " + tlsSocket("s") + "\n" +
			typed("upstream_http_protocol_options: {auto_sni: true}, explicit_http_config: {http_protocol_options: {}}"))
		h := c.Hosts().All()[0]
		var held []pool.Lease
		for i := range mostApart {
			l, err := h.Acquire(t.Context(), &Demand{Name: fmt.Sprintf("n%d", i)})
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, l)
		}
		_, err := h.Acquire(t.Context(), &Demand{Name: "more"})
		var e *pool.Error
		if !errors.As(err, &e) || e.Kind != pool.Overflow || c.Stats(0).CxPoolOverflow.Value() != 1 {
			t.Errorf("%v, upstream_cx_pool_overflow %d", err, c.Stats(0).CxPoolOverflow.Value())
		}
		held[7].Release()
		l, err := h.Acquire(t.Context(), &Demand{Name: "more"})
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		for i, l := range held {
			if i != 7 {
				l.Release()
			}
		}
	})
}

func TestEmptyPoolsAreTidiedAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		wrapped(t, w, &wrappers{f: socket.Features{PerPeer: true}})
		w.serve("10.0.0.1:80", "")
		c := w.start("transport_socket: " + tlsSocket("s") + "\n" +
			typed("common_http_protocol_options: {idle_timeout: 1s}, explicit_http_config: {http_protocol_options: {}}"))
		h := c.Hosts().All()[0]
		for i := range 200 {
			d := &conn.Info{Remote: conn.AddrPort(tcpAddr(fmt.Sprintf("1.2.3.4:%d", i+1))), Local: conn.AddrPort(tcpAddr("5.6.7.8:9"))}
			l, err := h.Acquire(t.Context(), &Demand{Downstream: d})
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := len(c.allPools()); n > 8 {
			t.Errorf("%d pools", n)
		}
	})
}

func TestHealthChecksOverTransportSockets(t *testing.T) {
	for _, tt := range []struct{ name, check, want string }{
		{"plain", "http_health_check: {path: /}", "s sni= sans=[] alpn=[] fallback=[http/1.1] host="},
		{"alpn", "http_health_check: {path: /}, tls_options: {alpn_protocols: [x, y]}", "s sni= sans=[] alpn=[x y] fallback=[http/1.1] host="},
		{"criteria", "http_health_check: {path: /}, transport_socket_match_criteria: {check: yes}", "c sni= sans=[] alpn=[] fallback=[http/1.1] host="},
		{"negotiated", "http_health_check: {path: /, use_alpn_protocol: true}", "s sni= sans=[] alpn=[] fallback=[h2 http/1.1] host="},
		{"tcp", "tcp_health_check: {}", "s sni= sans=[] alpn=[] fallback=[] host="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				ws := &wrappers{f: socket.Features{Secure: true}}
				w.env.HTTP2 = bilingual(t).env.HTTP2
				wrapped(t, w, ws)
				s := w.serve("10.0.0.1:80", ok)
				c := w.start(static("transport_socket: "+tlsSocket("s")+"\ntransport_socket_matches: [{name: c, match: {check: yes}, transport_socket: "+tlsSocket("c")+
					"}]\nhealth_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, "+tt.check+"}]", spot("", "10.0.0.1")))
				<-c.Ready()
				if got := ws.take(); got != tt.want {
					t.Errorf("told\n%s, want\n%s", got, tt.want)
				}
				w.expect(c, "health_check.healthy", 1)
				synctest.Wait()
				if _, conns := s.last(); conns != 1 {
					t.Errorf("%d connections", conns)
				}
			})
		})
	}
}

func TestFailedHandshakeFailsTheCheck(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		wrapped(t, w, &wrappers{fail: errors.New("no")})
		w.serve("10.0.0.1:80", ok)
		c := w.start(static("transport_socket: "+tlsSocket("s")+
			"\nhealth_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]", spot("", "10.0.0.1")))
		<-c.Ready()
		w.expect(c, "health_check.healthy", 0)
		if n := c.checker.Stats.NetworkFailure.Value(); n != 1 {
			t.Errorf("network_failure is %d", n)
		}
	})
}

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func TestAPoolApartIsFoundWithoutAllocating(t *testing.T) {
	w := newWorld(t)
	wrapped(t, w, &wrappers{f: socket.Features{Secure: true}})
	w.serve("10.0.0.1:80", "")
	c := w.start("transport_socket: " + tlsSocket("s") + "\n" +
		typed("upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, explicit_http_config: {http_protocol_options: {}}"))
	h, d := c.Hosts().All()[0], &Demand{Name: "example.com", Downstream: &conn.Info{}}
	if n := testing.AllocsPerRun(100, func() {
		l, err := h.Acquire(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
