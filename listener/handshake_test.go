package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
	"github.com/weftproxy/weft/transport/memory"
	"github.com/weftproxy/weft/transport/secret"
	"github.com/weftproxy/weft/transport/tcp"
)

// secured is a filter chain with the test's transport socket, and more fields.
func secured(name string, more ...string) string {
	fields := append([]string{
		fmt.Sprintf(`"name": %q, "filters": [%s]`, name, handler(name)),
		`"transportSocket": {"name": "t", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.BoolValue", "value": true}}`,
	}, more...)
	return "{" + strings.Join(fields, ", ") + "}"
}

// A logbook keeps what the access log is told.
type logbook chan observe.Record

func (b logbook) Log(e *observe.Entry) { b <- *e.Record }

// startLogged is start with an access log.
func (b *bench) startLogged(text string) (*Listener, logbook) {
	b.t.Helper()
	logs := make(logbook, 10)
	cfg := b.compile(text, nil)
	cfg.logs = []accesslog.Writer{logs}
	l := New(cfg, b.env)
	if err := l.Bind(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	l.Serve()
	b.t.Cleanup(l.Close)
	return l, logs
}

// greeted is a handshake: the peer says hello and is answered.
func greeted(c *conn.Conn) error {
	b, err := c.Peek(5)
	if err != nil {
		return err
	}
	if string(b) != "hello" {
		c.Info().TransportFailure = "no hello"
		return errors.New("no hello")
	}
	c.Discard(5)
	c.Info().ServerName = "greeted"
	_, err = c.Write([]byte("welcome"))
	return err
}

func TestHandshakeComesBeforeTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.shake = greeted
		b.handlers["told"] = func(ctx context.Context, c *conn.Conn) error {
			_, _ = fmt.Fprintf(c, "%s after %v. ", c.Info().ServerName, c.Info().HandshakeDuration)
			return echo(ctx, c)
		}
		l := b.start(listen("127.0.0.1", 1000, chains(secured("told"))))
		nc := b.dial(l)
		synctest.Wait()
		time.Sleep(3 * time.Second) // of the bubble
		if got := say(t, nc, "hello"); got+hear(t, nc, 2) != "welcome" {
			t.Fatal(got)
		}
		hear(t, nc, len("greeted after 3s. "))
		if got := say(t, nc, "text"); got != "text" {
			t.Fatal(got)
		}
	})
}

func TestAFailedHandshakeClosesAndIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.shake = greeted
		l, logs := b.startLogged(listen("127.0.0.1", 1000, `"statPrefix": "s"`, chains(secured("echo"))))
		nc := b.dial(l)
		_, _ = nc.Write([]byte("howdy"))
		isClosed(t, nc)
		if r := <-logs; r.DownstreamFailure != "no hello" || r.Terminate != "" {
			t.Errorf("%q, %q", r.DownstreamFailure, r.Terminate)
		}
		for name, want := range map[string]int64{"downstream_cx_total": 1, "downstream_cx_active": 0, "downstream_cx_destroy": 1,
			"downstream_cx_transport_socket_connect_timeout": 0} {
			if got := b.value("listener.s." + name); got != want {
				t.Errorf("%s is %d", name, got)
			}
		}
	})
}

func TestHandshakesEndInTime(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		want        time.Duration // 0: never
	}{
		{"default", "", 15 * time.Second},
		{"configured", `"transportSocketConnectTimeout": "3s"`, 3 * time.Second},
		{"none", `"transportSocketConnectTimeout": "0s"`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, memory.New())
				b.shake = greeted
				var more []string
				if tt.field != "" {
					more = append(more, tt.field)
				}
				l, logs := b.startLogged(listen("127.0.0.1", 1000, `"statPrefix": "s"`, chains(secured("echo", more...))))
				began := time.Now()
				nc := b.dial(l)
				_ = nc.SetDeadline(time.Time{})
				_, _ = nc.Write([]byte("hel"))
				const stat = "listener.s.downstream_cx_transport_socket_connect_timeout"
				if tt.want == 0 {
					time.Sleep(time.Hour) // of the bubble
					if n := b.value(stat); n != 0 || l.Connections() != 1 {
						t.Errorf("timeouts %d, connections %d", n, l.Connections())
					}
					return
				}
				isClosed(t, nc)
				if d := time.Since(began); d != tt.want {
					t.Errorf("closed after %v", d)
				}
				if r := <-logs; r.DownstreamFailure != "connect timeout" || r.Terminate != "transport socket timeout was reached" {
					t.Errorf("%q, %q", r.DownstreamFailure, r.Terminate)
				}
				if n := b.value(stat); n != 1 {
					t.Errorf("%s is %d", stat, n)
				}
			})
		})
	}
}

func TestTheLogSaysThatListenerFiltersTookTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.inspect = func(_ context.Context, c *conn.Conn) error { _, err := c.Peek(3); return err }
		l, logs := b.startLogged(listen("127.0.0.1", 1000, chains(chain("echo", "")), inspect, `"listenerFiltersTimeout": "3s"`))
		isClosed(t, b.dial(l))
		if r := <-logs; r.Terminate != "listener filters timeout was reached" {
			t.Errorf("%q", r.Terminate)
		}
	})
}

func TestAHandshakeInTimeIsNotDisturbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		b.shake = greeted
		l := b.start(listen("127.0.0.1", 1000, chains(secured("echo", `"transportSocketConnectTimeout": "3s"`))))
		nc := b.dial(l)
		_ = nc.SetDeadline(time.Time{})
		if got := say(t, nc, "hello") + hear(t, nc, 2); got != "welcome" {
			t.Fatal(got)
		}
		time.Sleep(time.Hour) // of the bubble
		if got := say(t, nc, "text"); got != "text" {
			t.Fatal(got)
		}
	})
}

func TestCloseEndsHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, memory.New())
		ended := make(chan error, 1)
		b.shake = func(c *conn.Conn) error {
			err := greeted(c)
			ended <- err
			return err
		}
		l := b.start(listen("127.0.0.1", 1000, chains(secured("echo"))))
		nc := b.dial(l)
		synctest.Wait()
		began := time.Now()
		l.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		isClosed(t, nc)
	})
}

// A kept chain has its transport socket still.
func TestUnchangedChainsKeepTheirTransport(t *testing.T) {
	b := newBench(t, memory.New())
	b.shake = greeted
	text := listen("127.0.0.1", 1000, chains(secured("echo")))
	one := b.compile(text, nil)
	two := b.compile(text, one)
	if one.chains[0] != two.chains[0] || two.chains[0].transport == nil {
		t.Error("the chain was compiled again")
	}
	plain := b.compile(listen("127.0.0.1", 1000, chains(chain("echo", ""))), two)
	if plain.chains[0].serves(two.chains[0]) || plain.chains[0].transport != nil {
		t.Error("connections change from one transport to another")
	}
}

// A chain that is taken over is still asked whether the secrets it names are there.
func TestChainsRememberTheirSecrets(t *testing.T) {
	b := newBench(t, memory.New())
	b.shake, b.secret = greeted, "key"
	store := secret.NewStore(secret.Options{})
	var m tlsv3.Secret
	if err := protojson.Unmarshal([]byte(`{"name": "key", "genericSecret": {"secret": {"inlineString": "x"}}}`), &m); err != nil {
		t.Fatal(err)
	}
	static := store.Compile(&m, "secrets[0]", resource.NewProblems("secret"))
	static.Publish()
	text := listen("127.0.0.1", 1000, chains(secured("echo")))
	b.env.Secrets = store.View(static)
	cfg := b.compile(text, nil)
	if used := cfg.Secrets(); len(used) != 1 || used[0].Name != "key" {
		t.Fatalf("%v", used)
	}
	if used := b.compile(text, cfg).Secrets(); len(used) != 1 {
		t.Errorf("%v of a chain that was taken over", used)
	}
	b.env.Secrets = store.View()
	const place = "at.filter_chains[0].transport_socket.typed_config.name"
	if _, p := b.try(text, cfg); p.Len() != 1 || p.All()[0].Path != place {
		t.Errorf("problems %v", p.All())
	}
}

// A restful layer counts how often connections are told to rest.
type restful struct {
	*tls.Conn
	rests *atomic.Int64
}

func (r restful) Rest() { r.rests.Add(1) }

// tlsLayer is a transport socket of crypto/tls.
func tlsLayer(cfg *tls.Config, rests *atomic.Int64) handshakeFunc {
	return func(c *conn.Conn) error {
		s := tls.Server(c.Wire(), cfg)
		if err := s.Handshake(); err != nil {
			return err
		}
		c.SetLayer(restful{s, rests})
		c.Info().TLS = &conn.TLS{SNI: s.ConnectionState().ServerName}
		return nil
	}
}

func TestParkedConnectionsWithTLS(t *testing.T) {
	authority, err := certs.NewAuthority("root")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(certs.Request{DNS: []string{"weft.example"}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, tcp.New())
	b.handlers["p"] = parking
	var rests atomic.Int64
	b.shake = tlsLayer(&tls.Config{Certificates: []tls.Certificate{pair.TLS()}}, &rests)
	l := b.start(listen("127.0.0.1", 0, chains(secured("p"))))
	var all []net.Conn
	for range 5 {
		nc := tls.Client(b.dial(l), &tls.Config{RootCAs: authority.Pool(), ServerName: "weft.example"})
		if err := nc.Handshake(); err != nil {
			t.Fatal(err)
		}
		all = append(all, nc)
	}
	for round := range 5 {
		b.parked(l, len(all))
		for i, nc := range all {
			if text := fmt.Sprintf("round %d, %d", round, i); say(t, nc, text) != text {
				t.Fatal("mixed up")
			}
		}
	}
	b.parked(l, len(all))
	if n := rests.Load(); n < 6*int64(len(all)) {
		t.Errorf("%d connections parked 6 times, and rested %d times in all", len(all), n)
	}
	l.Close()
	for _, nc := range all {
		if n, err := nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d, %v; a parked connection ends with close_notify", n, err)
		}
	}
}

// withInspector is newBench whose registry has a tls_inspector, which notes that it was there.
func withInspector(t *testing.T) *bench {
	b := newBench(t, memory.New())
	r, err := extension.NewRegistry(extension.Extensions{
		Network: []extension.NetworkFilter{{Name: "test.handler", Config: &wrapperspb.StringValue{}, Terminal: true, New: b.newHandler, Support: none}},
		Listener: []extension.ListenerFilter{
			{Name: "test.inspect", Config: &wrapperspb.Int32Value{}, New: b.newInspector, Support: none},
			{Name: "tls", Config: &inspectorv3.TlsInspector{}, Support: none, New: func(*extension.Env, proto.Message) (extension.Inspector, error) {
				return b.inspect, nil
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.env.Registry = r
	return b
}

func TestTLSInspectorIsAddedWhereItIsNeeded(t *testing.T) {
	const tlsInspector = `{"name": "mine", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}`
	const added = "envoy.filters.listener.tls_inspector"
	for _, tt := range []struct{ name, match, filters, want string }{
		{"nothing asks for it", "", "", ""},
		{"server names", `"serverNames": ["a"]`, "", added},
		{"application protocols", `"applicationProtocols": ["h2"]`, "", added},
		{"transport protocol", `"transportProtocol": "tls"`, "", added},
		{"plain transport protocol", `"transportProtocol": "raw_buffer"`, "", ""},
		{"names of what is plain", `"transportProtocol": "raw_buffer", "applicationProtocols": ["http/1.1"]`, "", ""},
		{"after others", `"serverNames": ["a"]`, inspect, "i " + added},
		{"it is there", `"serverNames": ["a"]`, `"listenerFilters": [` + tlsInspector + `]`, "mine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := withInspector(t)
			more := []string{chains(chain("echo", tt.match))}
			if tt.filters != "" {
				more = append(more, tt.filters)
			}
			var names []string
			for _, in := range b.compile(listen("127.0.0.1", 1000, more...), nil).inspectors {
				names = append(names, in.name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
