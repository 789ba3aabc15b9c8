package health

import (
	"errors"
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// chunked is a body in pieces, with trailers.
type chunked struct {
	message.Body
	pieces  []string
	trailer *message.Header
	end     error // nil: io.EOF
}

func (c *chunked) Next() ([]byte, error) {
	if len(c.pieces) == 0 {
		if c.end != nil {
			return nil, c.end
		}
		return nil, io.EOF
	}
	p := c.pieces[0]
	c.pieces = c.pieces[1:]
	return []byte(p), nil
}

func (c *chunked) Trailer() *message.Header { return c.trailer }

func framed(flags byte, msg string) string {
	return string(grpc.AppendFrameHeader(nil, flags, len(msg))) + msg
}

const (
	isServing    = "\x08\x01"
	isNotServing = "\x08\x02"
)

func TestJudgementOfACall(t *testing.T) {
	broke := errors.New("broke")
	yes := framed(0, isServing)
	for _, c := range []struct {
		name    string
		code    int
		kind    string // content-type
		head    string // grpc-status of a response without a body
		pieces  []string
		trailer string // grpc-status; "-": no trailers
		end     error
		want    error // nil: healthy; errAny: any
		network bool
	}{
		{name: "serving", pieces: []string{yes}, trailer: "0"},
		{name: "byte by byte", pieces: []string{yes[:1], yes[1:4], yes[4:6], yes[6:]}, trailer: "0"},
		{name: "with another type", kind: "application/grpc+proto", pieces: []string{yes}, trailer: "0"},
		{name: "fields that are not known", pieces: []string{framed(0, "\x12\x01a"+isServing+"\x1d\x00\x00\x00\x00")}, trailer: "0"},
		{name: "the last one counts", pieces: []string{framed(0, isNotServing+isServing)}, trailer: "0"},
		{name: "an empty message says nothing", pieces: []string{framed(0, "") + yes}, trailer: "0"},
		{name: "not serving", pieces: []string{framed(0, isNotServing)}, trailer: "0", want: errNotServing},
		{name: "service unknown", pieces: []string{framed(0, "\x08\x03")}, trailer: "0", want: errNotServing},
		{name: "unknown", pieces: []string{framed(0, "\x12\x01a")}, trailer: "0", want: errNotServing},
		{name: "no message", trailer: "0", want: errNoReply},
		{name: "only empty messages", pieces: []string{framed(0, "")}, trailer: "0", want: errNoReply},
		{name: "two messages", pieces: []string{yes + yes}, trailer: "0", want: errSurplus},
		{name: "compressed", pieces: []string{framed(1, isServing)}, trailer: "0", want: errReply},
		{name: "garbage", pieces: []string{framed(0, "\x08")}, trailer: "0", want: errReply},
		{name: "garbage in a tag", pieces: []string{framed(0, "\xff")}, trailer: "0", want: errReply},
		{name: "too long", pieces: []string{"\x00\x00\xff\xff\xff"}, trailer: "0", want: errReply},
		{name: "half a message", pieces: []string{yes[:6]}, trailer: "0", want: errReply},
		{name: "status not OK", pieces: []string{yes}, trailer: "14", want: errAny},
		{name: "status that is none", pieces: []string{yes}, trailer: "x", want: errAny},
		{name: "no trailers", pieces: []string{yes}, trailer: "-", want: errNoStatus},
		{name: "trailers only, unimplemented", head: "12", want: errAny},
		{name: "trailers only, OK", head: "0", want: errNoReply},
		{name: "only a head", head: "-", want: errNotGRPC},
		{name: "not gRPC", kind: "text/html", pieces: []string{yes}, trailer: "0", want: errNotGRPC},
		{name: "another status", code: 503, pieces: []string{yes}, trailer: "0", want: errAny},
		{name: "the connection breaks", pieces: []string{yes}, end: broke, want: broke, network: true},
	} {
		resp := &message.Response{Status: 200, Length: -1}
		if c.code != 0 {
			resp.Status = c.code
		}
		if c.kind == "" {
			c.kind = "application/grpc"
		}
		resp.Header.AddKnown(message.ContentType, c.kind)
		body := &chunked{Body: message.NoBody, pieces: c.pieces, end: c.end}
		resp.Body = body
		if c.head != "" {
			resp.Length = 0
			if c.head != "-" {
				resp.Header.AddKnown(message.GRPCStatus, c.head)
			}
		}
		if c.trailer != "-" {
			body.trailer = &message.Header{}
			body.trailer.AddKnown(message.GRPCStatus, c.trailer)
		}
		p := (&Checker{Config: &Config{GRPC: &GRPC{}}}).probe(nil)
		out := p.judgeCall(resp)
		if (out.err == nil) != (c.want == nil) || c.want != errAny && !errors.Is(out.err, c.want) || out.network != c.network || out.retriable {
			t.Errorf("%s: %+v", c.name, out)
		}
	}
}

var errAny = errors.New("any")

func TestCall(t *testing.T) {
	add := []Field{{"x-a", "1", true}, {"content-type", "application/grpc+proto", false}}
	for _, c := range []struct {
		g         GRPC
		hostname  string
		authority string
		body      string
	}{
		{GRPC{}, "", "web", "\x00\x00\x00\x00\x00"},
		{GRPC{Service: "pkg.S", Authority: "a.test", Metadata: add}, "", "a.test", "\x00\x00\x00\x00\x07\x0a\x05pkg.S"},
		{GRPC{Authority: "a.test"}, "h.test", "h.test", "\x00\x00\x00\x00\x00"},
	} {
		p := (&Checker{Config: &Config{GRPC: &c.g, Timeout: 1500 * time.Millisecond}, Cluster: "web"}).probe(nil)
		r := p.call(Target{Hostname: c.hostname})
		body, err := message.ReadAll(r.Body, 100)
		if r.Method != "POST" || r.Scheme != "http" || r.Path != "/grpc.health.v1.Health/Check" || r.Authority != c.authority || string(body) != c.body || err != nil ||
			r.Length != int64(len(body)) {
			t.Errorf("%+v: %+v, body %q", c.g, r, body)
		}
		h := &r.Header
		if h.Get("te") != "trailers" || h.Get("grpc-timeout") != "1500m" || h.Get("user-agent") != "Envoy/HC" || !grpc.IsRequest(h) ||
			h.Has("x-a") != (c.g.Metadata != nil) || h.Count("content-type") != 1 {
			t.Errorf("%+v: %v", c.g, h)
		}
	}
}

func TestCompileGRPC(t *testing.T) {
	m := &corev3.HealthCheck{}
	if err := protojson.Unmarshal([]byte(`{"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "grpcHealthCheck":
		{"serviceName": "s", "authority": "a", "initialMetadata": [{"header": {"key": "k", "value": "v"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}]}}`), m); err != nil {
		t.Fatal(err)
	}
	p := resource.NewProblems("")
	c := Compile(m, "check", p)
	if len(p.All()) > 0 || c.GRPC == nil || c.HTTP != nil || c.GRPC.Service != "s" || c.GRPC.Authority != "a" || len(c.GRPC.Metadata) != 1 ||
		c.GRPC.Metadata[0] != (Field{"k", "v", false}) {
		t.Errorf("%+v, %v", c, p.All())
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"", isServing, isNotServing, "\x12\x01a\x08\x01", "\x0b\x0c", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		status, ok := decodeReply(b)
		if !ok {
			return
		}
		if again, ok := decodeReply(append([]byte(isNotServing), b...)); !ok || again != status && again != 2 {
			t.Errorf("%x: %d, after another field %d %v", b, status, again, ok)
		}
	})
}
