package scripts

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftproxy/weft/test/kit"
)

// A rig is a lab with an origin "a" and one Weft, between two protocols.
type rig struct {
	t    *testing.T
	pair kit.Pair
	lab  *kit.Lab
	a    *kit.Origin
	weft *kit.Weft
}

// The access log of a rig: what a test of a pair looks at, one word each.
const rigLog = "%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% " +
	"%BYTES_SENT% %GRPC_STATUS% %UPSTREAM_PROTOCOL%"

// newRig starts a Weft whose two sides have what the suite needs: trailers, WebSocket, and the log above.
func newRig(t *testing.T, p kit.Pair, h kit.HTTP) *rig {
	t.Helper()
	return rigIn(t, kit.New(t), p, h)
}

func rigIn(t *testing.T, lab *kit.Lab, p kit.Pair, h kit.HTTP) *rig {
	t.Helper()
	r := &rig{t: t, pair: p, lab: lab, a: lab.Origin("a", p.Up)}
	for _, name := range h.Upstreams {
		lab.Origin(name, p.Up)
	}
	r.weft = lab.Start(r.config(h))
	return r
}

// config is the configuration with the parts that all rigs have.
func (r *rig) config(h kit.HTTP) string {
	if !strings.Contains(h.Manager, "http_protocol_options:") {
		h.Manager += "\nhttp_protocol_options: {enable_trailers: true}"
	}
	if !strings.Contains(h.Manager, "http2_protocol_options:") {
		h.Manager += "\nhttp2_protocol_options: {allow_connect: true}"
	}
	h.Manager += `
upgrade_configs: [{upgrade_type: websocket}]
access_log: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {{log "main"}},
  log_format: {text_format_source: {inline_string: "` + rigLog + `\n"}}}}]`
	if h.Upstreams == nil {
		h.Upstreams = []string{"a"}
	}
	if h.Clusters == "" {
		for _, name := range h.Upstreams {
			h.Clusters += r.cluster(name, "") + "\n"
		}
	}
	return h.YAML()
}

// cluster is a cluster of one host with further fields, which begin with a comma, and fields of its protocol's options.
func (r *rig) cluster(name, fields string, options ...string) string {
	if r.pair.Up == kit.HTTP1 {
		options = []string{"enable_trailers: true"}
	} else if options == nil {
		options = []string{"allow_connect: true"}
	}
	return fmt.Sprintf(`- {name: %s, connect_timeout: 5s%s, {{hosts %q %q}}, {{codec %q %q}}}`, name, fields, name, name, name, strings.Join(options, ", "))
}

// client connects a client.
func (r *rig) client() kit.Client { return r.lab.Client(r.pair.Down) }

// open begins an exchange on a connection of its own.
func (r *rig) open(h kit.Head, end bool) kit.Stream {
	r.t.Helper()
	s, err := r.client().Open(h, end)
	if err != nil {
		r.t.Fatalf("begin %s %s: %v", h.Method, h.Path, err)
	}
	return s
}

// accept takes the next request that an origin gets, when it is manual.
func (r *rig) accept(o *kit.Origin) (kit.Stream, *kit.Head) {
	r.t.Helper()
	s, h, err := o.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	return s, h
}

// get is a whole request without a body, and its response.
func (r *rig) get(c kit.Client, h kit.Head) *kit.Whole {
	r.t.Helper()
	s, err := c.Open(h, true)
	if err != nil {
		r.t.Fatalf("%s: %v", h.Path, err)
	}
	return r.read(s)
}

// read reads a whole message.
func (r *rig) read(s kit.Stream) *kit.Whole {
	r.t.Helper()
	w, err := kit.Read(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// must ends the test with an error.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// wants checks a complete response.
func (r *rig) wants(w *kit.Whole, status int, body string) {
	r.t.Helper()
	if w.Status != status || !match(body, string(w.Body)) || w.Err != nil {
		r.t.Fatalf("got %d %q, %v; want %d %q", w.Status, w.Body, w.Err, status, body)
	}
}

// logs checks the next line of the access log. $d and $u stand for the protocols, * for anything.
func (r *rig) logs(want string) {
	r.t.Helper()
	lines, err := r.lab.Log("main", 1)
	r.must(err)
	want = strings.NewReplacer("$d", r.pair.Down.Protocol(), "$u", r.pair.Up.Protocol()).Replace(want)
	if got := strings.TrimSuffix(lines[0], "\n"); !match(want, got) {
		r.t.Errorf("log line %q, want %q", got, want)
	}
}

// stat waits until a counter or gauge has this value.
func (r *rig) stat(name string, n int64) {
	r.t.Helper()
	r.must(r.weft.WaitStat(name, n))
}

// gone checks that the peer of a stream gives it up.
func (r *rig) gone(s kit.Stream) {
	r.t.Helper()
	if err := s.Gone(); err != nil {
		r.t.Fatalf("the stream goes on: %v", err)
	}
}

// fails checks that the message on a stream, whose head was read, breaks off.
func (r *rig) fails(s kit.Stream) {
	r.t.Helper()
	if b, err := kit.Body(s); err == nil {
		r.t.Fatalf("the message looks complete: %q", b)
	}
}
