package scripts

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftproxy/weft/test/certs"
	"github.com/weftproxy/weft/test/kit"
)

// tlsPatience is how long anything may take that is not a matter of time.
const tlsPatience = 20 * time.Second

// A tlsSiege is a Weft with three ports that show one certificate: "main" chooses by server name and has time, "hasty" chooses and has little,
// and "bare" has one chain, which looks at nothing before the handshake.
type tlsSiege struct {
	*testing.T
	lab       *kit.Lab
	weft      *kit.Weft
	authority *certs.Authority
}

const (
	siegeLog = `access_log: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {{log "ends"}},
      log_format: {text_format_source: {inline_string: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%\n"}}}}]`
	siegeTimeout = 3 * time.Second // of the hasty port; a healthy client has to be done by then on any machine
)

func layTLS(t *testing.T) *tlsSiege {
	t.Helper()
	s := &tlsSiege{T: t, lab: kit.New(t)}
	var err error
	if s.authority, err = certs.NewAuthority("root"); err != nil {
		t.Fatal(err)
	}
	socket := tlsContext(t, issued(t, s.authority, certs.Request{DNS: []string{"a.example"}}), "", "")
	port := func(name, fields, match, chain string) string {
		return strings.ReplaceAll(fmt.Sprintf(`
- name: %[1]s
  stat_prefix: %[1]s
  address: {{listen %[1]q}}
  %[2]s
  %[3]s
  filter_chains:`, name, siegeLog, fields)+httpChain(name, match, socket)+chain, "\n", "\n  ")
	}
	const byName = "server_names: [a.example]"
	s.weft = s.lab.Start("{{admin}}\nstatic_resources:\n  listeners:" +
		port("main", "listener_filters_timeout: 0s", byName, "\n    transport_socket_connect_timeout: 0s") +
		port("hasty", fmt.Sprintf("listener_filters_timeout: %vs", siegeTimeout.Seconds()), byName,
			fmt.Sprintf("\n    transport_socket_connect_timeout: %vs", siegeTimeout.Seconds())) +
		port("bare", "", "", "") + "\n")
	return s
}

// connect opens a connection to a port, which nothing is said on.
func (s *tlsSiege) connect(port string) net.Conn {
	s.Helper()
	addr, err := s.weft.Addr(port)
	if err != nil {
		s.Fatal(err)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(tlsPatience)) // fails only on what is closed
	return c
}

func (s *tlsSiege) config() *tls.Config {
	return &tls.Config{ServerName: "a.example", RootCAs: s.authority.Pool()}
}

// hello is a good ClientHello, as it is on the wire.
func (s *tlsSiege) hello() []byte {
	s.Helper()
	m := &mute{}
	if err := tls.Client(m, s.config()).Handshake(); err == nil {
		s.Fatal("a handshake with nobody")
	}
	return m.said.Bytes()
}

// stats waits until statistics have these values.
func (s *tlsSiege) stats(want map[string]int64) {
	s.Helper()
	for name, n := range want {
		if err := s.weft.WaitStat(name, n); err != nil {
			s.Error(err)
		}
	}
}

// ends fails the test unless the listeners' access log has these lines next.
func (s *tlsSiege) ends(want ...string) {
	s.Helper()
	lines, err := s.lab.Log("ends", len(want))
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	if err != nil || !slices.Equal(lines, want) {
		s.Errorf("%q, %v", lines, err)
	}
}

// A dribble writes each byte by itself.
type dribble struct{ net.Conn }

func (d *dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestHandshakesMayComeInBytes(t *testing.T) {
	s := layTLS(t)
	for _, port := range []string{"main", "bare"} {
		c := tls.Client(&dribble{s.connect(port)}, s.config())
		if got, err := answerOn(c); got != port || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// bigHello begins a ClientHello of n bytes in records of 16 KiB, each of which is all there.
func bigHello(n int) []byte {
	const most = 1 << 14
	hello := append([]byte{1, byte(n >> 16), byte(n >> 8), byte(n), 3, 3}, make([]byte, n-2)...)
	var b []byte
	for part := range slices.Chunk(hello, most) {
		b = append(append(b, 22, 3, 1, byte(len(part)>>8), byte(len(part))), part...)
	}
	return b
}

func TestHellosThatAreTooBigAreNotRead(t *testing.T) {
	s := layTLS(t)
	for port, why := range map[string]string{
		"main": "ClientHelloTooLarge -", // by the port's filter
		"bare": "TLS_error:tls:_handshake_message_of_length_1048576_bytes_exceeds_maximum_of_65536_bytes:TLS_error_end -",
	} {
		c := s.connect(port)
		_, _ = c.Write(bigHello(1 << 20)) // it need not be taken
		said, _ := io.ReadAll(c)          // and what was said may be lost with that
		if len(said) > 7 {                // an alert
			t.Errorf("%s: %q", port, said)
		}
		s.ends(why)
	}
	s.stats(map[string]int64{
		"tls_inspector.client_hello_too_large": 1, "listener.main.ssl.connection_error": 0, "listener.bare.ssl.connection_error": 1,
		"listener.bare.downstream_cx_active": 0, "listener.main.downstream_pre_cx_active": 0,
	})
}

// TestHandshakesThatDoNotEnd has two hundred clients that stop in the middle of their first message, and two hundred that stop after it, at
// once, while a healthy one is served. Each is closed when its time is up.
func TestHandshakesThatDoNotEnd(t *testing.T) {
	const each, most = 200, 64 << 20
	s := layTLS(t)
	healthy := tls.Client(s.connect("hasty"), s.config())
	if got, err := answerOn(healthy); got != "hasty" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	began, hello := inUse(), s.hello()
	var attack sync.WaitGroup
	var said atomic.Int64
	for i := range 2 * each {
		c, text := s.connect("hasty"), hello[:len(hello)/2]
		if i%2 == 1 {
			text = hello
		}
		attack.Go(func() { // ends when Weft closes
			if _, err := c.Write(text); err != nil {
				t.Error(err)
			}
			b, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("not closed: %v", err)
			}
			if len(b) > 0 {
				said.Add(1)
			}
		})
	}
	over := make(chan struct{})
	go func() { // ends with the attack
		attack.Wait()
		close(over)
	}()
	if err := s.weft.WaitStat("listener.hasty.downstream_pre_cx_active", each); err != nil {
		t.Log(err) // the first were closed before the last came: a slow machine
	}
	if now := inUse(); now > began+most {
		t.Errorf("%d MiB of memory in use, %d before the attack", now>>20, began>>20)
	}
	for served := 0; ; served++ {
		if got, err := answerOn(healthy); got != "hasty" || err != nil {
			t.Fatalf("the healthy client: %q, %v", got, err)
		}
		select {
		case <-over:
			if served == 0 {
				t.Error("the healthy client was not served")
			}
		default:
			continue
		}
		break
	}
	values, err := s.weft.Stats()
	if err != nil {
		t.Fatal(err)
	}
	inspected, shaken := values["listener.hasty.downstream_pre_cx_timeout"], values["listener.hasty.downstream_cx_transport_socket_connect_timeout"]
	if inspected < each || shaken != said.Load() || inspected+shaken != 2*each {
		t.Errorf("%d closed before their ClientHello, %d after it, of whom %d were answered", inspected, shaken, said.Load())
	}
	lines, err := s.lab.Log("ends", 2*each)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.Join(lines, ""), "connect_timeout transport socket timeout was reached\n"); int64(n) != shaken {
		t.Errorf("%d lines tell of the handshake's timeout, want %d", n, shaken)
	}
	s.stats(map[string]int64{"listener.hasty.downstream_cx_active": 1, "listener.hasty.downstream_pre_cx_active": 0})
}

func TestRecordsAfterTheEndAreIgnored(t *testing.T) {
	s := layTLS(t)
	raw := s.connect("bare")
	m := &tap{Conn: raw}
	c := tls.Client(m, s.config())
	if got, err := answerOn(c); got != "bare" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	m.said.Reset()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	again := bytes.Clone(m.said.Bytes())
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(tlsPatience)) // CloseWrite has let it pass
	if _, err := raw.Write(slices.Concat(again, again)); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c) // what was answered may be lost when the connection is reset
	if n := bytes.Count(b, []byte("HTTP/1.1 200")); n > 1 {
		t.Errorf("%d answers: %q", n, b)
	}
	s.stats(map[string]int64{"listener.bare.downstream_cx_active": 0, "http.bare.downstream_rq_total": 2})
}

// A tap keeps what is written.
type tap struct {
	net.Conn
	said bytes.Buffer
}

func (m *tap) Write(b []byte) (int, error) {
	m.said.Write(b)
	return m.Conn.Write(b)
}

// TestWhoStopsReadingIsClosed has a client that asks for what never ends and reads no more than the head: the end of its connection
// waits for nobody. Where the upstream's head comes later than stream_idle_timeout the client gets a 504, rightly, and asks again.
func TestWhoStopsReadingIsClosed(t *testing.T) {
	lab := kit.New(t)
	authority, err := certs.NewAuthority("root")
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	lab.Origin("a", kit.HTTP1).Handle(func(st kit.Stream) {
		if _, err := kit.Read(st); err != nil {
			return
		}
		for err := st.SendHead(kit.Head{Status: 200}, false); err == nil; {
			err = st.Send(chunk, false) // until Weft gives up
		}
	})
	config := kit.HTTP{Manager: "stream_idle_timeout: 0.5s"}.YAML()
	socket := tlsContext(t, issued(t, authority, certs.Request{DNS: []string{"a.example"}}), "", "")
	weft := lab.Start(strings.Replace(config, "filter_chains:\n    - filters:", "filter_chains:\n    - transport_socket: "+socket+"\n      filters:", 1))
	addr, err := weft.Addr("main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "a.example", RootCAs: authority.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(tlsPatience))
	in := bufio.NewReader(c)
	asked := int64(0)
	for status := 504; status != 200; asked++ {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status = resp.StatusCode; status == 504 {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err != nil || status != 200 && status != 504 {
			t.Fatalf("status %d, %v", status, err)
		}
	}
	for name, want := range map[string]int64{"http.main.downstream_rq_idle_timeout": asked, "http.main.downstream_cx_active": 0} {
		if err := weft.WaitStat(name, want); err != nil {
			t.Error(err)
		}
	}
}
