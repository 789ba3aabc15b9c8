package listener

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport"
	transportsocket "github.com/weftproxy/weft/transport/socket"
)

type handlerFunc func(ctx context.Context, c *conn.Conn) error

func (f handlerFunc) ServeConn(ctx context.Context, c *conn.Conn) error { return f(ctx, c) }

// A named handler is what the test registry's terminal filter builds; equal names do not make equal handlers.
type named struct {
	name string
	handlerFunc
}

type inspectFunc func(ctx context.Context, c *conn.Conn) error

func (f inspectFunc) Inspect(ctx context.Context, c *conn.Conn) error { return f(ctx, c) }

// A bench is an environment with handlers and inspectors by name. In configurations, "H:x" in a StringValue is the handler x, a BytesValue
// is a wrapping filter, an Int32Value a listener filter, a BoolValue a transport socket.
type bench struct {
	t        testing.TB
	env      *extension.Env
	handlers map[string]handlerFunc
	keep     bool // handlers serve on when their configuration changes
	inspect  inspectFunc
	shake    handshakeFunc
	secret   string // that the transport socket names; "" for none
}

// A handshakeFunc is a transport socket.
type handshakeFunc func(c *conn.Conn) error

func (f handshakeFunc) Handshake(c *conn.Conn) error { return f(c) }

func newBench(t testing.TB, n transport.Network) *bench {
	b := &bench{t: t, handlers: map[string]handlerFunc{"echo": echo}}
	r, err := extension.NewRegistry(extension.Extensions{
		Network: []extension.NetworkFilter{
			{Name: "test.handler", Config: &wrapperspb.StringValue{}, Terminal: true, New: b.newHandler, Support: none},
			{Name: "test.wrap", Config: &wrapperspb.BytesValue{}, Wrap: b.wrap, Support: none},
		},
		Listener: []extension.ListenerFilter{{Name: "test.inspect", Config: &wrapperspb.Int32Value{}, New: b.newInspector, Support: none}},
		Transport: []transportsocket.Factory{{
			Name: "test.transport", Config: &wrapperspb.BoolValue{}, Support: none,
			NewServer: b.newTransport,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.env = &extension.Env{Stats: stats.NewStore(stats.Options{}), Network: n, Registry: r}
	b.env.Options.Runtime = &extension.Runtime{}
	b.env.Options.Connections = &extension.Connections{}
	return b
}

func none() resource.Support { return nil }

func (b *bench) newHandler(_ *extension.Env, cfg proto.Message, prev conn.Handler) (extension.Built, error) {
	name := cfg.(*wrapperspb.StringValue).GetValue()
	if old, ok := prev.(*named); ok && b.keep {
		return extension.Built{Handler: old}, nil
	}
	f, ok := b.handlers[name]
	if !ok {
		return extension.Built{}, fmt.Errorf("no handler %q", name)
	}
	return extension.Built{Handler: &named{name, f}}, nil
}

func (b *bench) wrap(_ *extension.Env, _ proto.Message, next conn.Handler) (conn.Handler, error) {
	return handlerFunc(func(ctx context.Context, c *conn.Conn) error {
		if _, err := c.Write([]byte("wrapped ")); err != nil {
			return err
		}
		return next.ServeConn(ctx, c)
	}), nil
}

func (b *bench) newTransport(env *transportsocket.Env, _ proto.Message) (transportsocket.Server, error) {
	if b.secret != "" {
		env.Secrets.NamedGeneric(&tlsv3.SdsSecretConfig{Name: b.secret}, env.Path, env.Problems)
	}
	return b.shake, nil
}

func (b *bench) newInspector(*extension.Env, proto.Message) (extension.Inspector, error) {
	return b.inspect, nil
}

// chain is a filter chain as JSON: its match, and the name of its handler, which is the chain's name too.
func chain(name, match string) string {
	return fmt.Sprintf(`{"name": %q, "filterChainMatch": {%s}, "filters": [%s]}`, name, match, handler(name))
}

func handler(name string) string {
	return fmt.Sprintf(`{"name": "h", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": %q}}`, name)
}

const wrapper = `{"name": "w", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": ""}}`

const inspect = `"listenerFilters": [{"name": "i", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Int32Value", "value": 0}}]`

// listener is a Listener as JSON on an address, with more fields.
func listen(address string, port int, more ...string) string {
	return fmt.Sprintf(`{"name": "l", "address": {"socketAddress": {"address": %q, "portValue": %d}}, %s}`, address, port, strings.Join(more, ", "))
}

func chains(all ...string) string { return `"filterChains": [` + strings.Join(all, ", ") + `]` }

// compile compiles JSON; it ends the test when there is a problem.
func (b *bench) compile(text string, prev *Config) *Config {
	b.t.Helper()
	c, p := b.try(text, prev)
	if p.Len() > 0 {
		b.t.Fatalf("problems: %v", p.All())
	}
	return c
}

func (b *bench) try(text string, prev *Config) (*Config, *resource.Problems) {
	b.t.Helper()
	var m listenerv3.Listener
	if err := protojson.Unmarshal([]byte(text), &m); err != nil {
		b.t.Fatalf("%v in %s", err, text)
	}
	p := resource.NewProblems(`listener "l"`)
	return Compile(b.env, &m, "at", p, prev), p
}

// start runs a listener until the test ends.
func (b *bench) start(text string) *Listener {
	b.t.Helper()
	l := New(b.compile(text, nil), b.env)
	if err := l.Bind(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	l.Serve()
	b.t.Cleanup(l.Close)
	return l
}

// dial connects to the listener's first address.
func (b *bench) dial(l *Listener) net.Conn {
	b.t.Helper()
	nc, err := b.env.Network.Dial(b.t.Context(), transport.DialOptions{Network: "tcp", Address: l.Addresses()[0]})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc
}

func (b *bench) value(name string) int64 {
	n, _ := b.env.Stats.Value(name)
	return n
}

// say sends a text and returns what comes back of the same length.
func say(t testing.TB, nc net.Conn, text string) string {
	t.Helper()
	if _, err := nc.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return hear(t, nc, len(text))
}

func hear(t testing.TB, nc net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	got, err := io.ReadFull(nc, b)
	if err != nil {
		t.Fatalf("read %q: %v", b[:got], err)
	}
	return string(b)
}

// isClosed fails the test unless the peer has closed or reset the connection.
func isClosed(t testing.TB, nc net.Conn) {
	t.Helper()
	n, err := nc.Read(make([]byte, 1))
	if n > 0 || err == nil || isTimeout(err) {
		t.Fatalf("the connection is open: %d %v", n, err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// echo sends back what it receives, until the end or a drain.
func echo(_ context.Context, c *conn.Conn) error {
	if !c.SetIdle(true) {
		return conn.ErrDraining
	}
	for {
		if _, err := c.Write(c.Buffered()); err != nil {
			return err
		}
		if len(c.Buffered()) > 0 && c.Draining() {
			return conn.ErrDraining
		}
		c.Discard(len(c.Buffered()))
		if err := c.Fill(); err != nil {
			return err
		}
	}
}

// parking is echo that parks whenever nothing is there.
func parking(_ context.Context, c *conn.Conn) error {
	if !c.SetIdle(true) {
		return conn.ErrDraining
	}
	for {
		if _, err := c.Write(c.Buffered()); err != nil {
			return err
		}
		if len(c.Buffered()) > 0 && c.Draining() {
			return conn.ErrDraining
		}
		c.Discard(len(c.Buffered()))
		switch err := c.TryFill(); err {
		case nil:
		case conn.ErrWouldBlock:
			return conn.ErrParked
		default:
			return err
		}
	}
}

// eventually waits until ok, on real time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

func dialOptions(address string) transport.DialOptions {
	return transport.DialOptions{Network: "tcp", Address: address}
}
