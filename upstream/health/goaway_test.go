package health

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/resource"
)

// A leaver is a session whose server says goodbye during the first request, and answers it some time after.
type leaver struct {
	protocol.Session
	owner protocol.Owner
	cause error
}

func (l *leaver) Open(_ context.Context, _ *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	l.owner = o
	return l, nil
}

func (l *leaver) RoundTrip(ctx context.Context, _ *message.Request) (*message.Response, error) {
	l.owner.Gone(l, l.cause)
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(10 * time.Millisecond):
		return &message.Response{Status: 200, Body: message.NoBody}, nil
	}
}

func TestGoAwayDuringACheck(t *testing.T) {
	failed := &protocol.ResetError{Code: 2}
	for _, tt := range []struct {
		name  string
		cause error
		want  error
	}{
		{"graceful", nil, nil},
		{"for an error", failed, failed},
		{"the connection's end decides itself", io.EOF, nil},
	} {
		c := &Checker{Config: &Config{HTTP: &HTTP{Method: "GET", Path: "/", Expected: []Range{{200, 201}}}}, Client: &leaver{cause: tt.cause}}
		p := c.probe(nil)
		for range 2 { // the second check must not be hit by what happened to the first
			out := p.ask(context.Background(), p.request(Target{}), p.judge)
			if !errors.Is(out.err, tt.want) || out.network != (tt.want != nil) || !p.spent.Load() {
				t.Errorf("%s: %+v", tt.name, out)
			}
		}
	}
}

func TestFieldsOfChecks(t *testing.T) {
	for _, tt := range []struct{ header, want, problem string }{
		{`"key": "k", "rawValue": "djEl"`, "", "[0].header.raw_value"},
		{`"key": "k", "rawValue": "djElJQ=="`, "v1%", ""},
		{`"key": "a b", "value": "v"`, "", "not the name of a header"},
		{`"key": ":path", "value": "/"`, "", "not the name of a header"},
		{`"key": ":authority", "value": "a.test"`, "a.test", ""},
		{`"key": "Host", "value": "a.test"`, "a.test", ""},
	} {
		m := &corev3.HealthCheck{}
		if err := protojson.Unmarshal([]byte(`{"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1,
			"grpcHealthCheck": {"initialMetadata": [{"header": {`+tt.header+`}}]}}`), m); err != nil {
			t.Fatal(err)
		}
		p := resource.NewProblems("")
		c := Compile(m, "check", p)
		all := p.All()
		if tt.problem == "" && (len(all) > 0 || c.GRPC.Metadata[0].Value != tt.want) ||
			tt.problem != "" && (len(all) != 1 || !strings.Contains(all[0].Error(), tt.problem)) {
			t.Errorf("%s: %+v, %v", tt.header, c.GRPC, all)
		}
	}
}

func TestFieldsAreLiteral(t *testing.T) {
	for _, tt := range []struct{ value, want, problem string }{
		{"plain", "plain", ""},
		{"50%% of 100%%", "50% of 100%", ""},
		{"%%START_TIME%%", "%START_TIME%", ""},
		{"%START_TIME%", "", "format operators are not supported in health checks"},
		{"%%%START_TIME%", "", "format operators"},
		{"50%", "", "format operators"},
	} {
		for kind, name := range map[string]string{"httpHealthCheck": "requestHeadersToAdd", "grpcHealthCheck": "initialMetadata"} {
			m := &corev3.HealthCheck{}
			if err := protojson.Unmarshal([]byte(`{"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1, "`+kind+`":
				{"`+name+`": [{"header": {"key": "k", "value": "`+tt.value+`"}}]}}`), m); err != nil {
				t.Fatal(err)
			}
			if h := m.GetHttpHealthCheck(); h != nil {
				h.Path = "/"
			}
			p := resource.NewProblems("")
			c := Compile(m, "check", p)
			if all := p.All(); tt.problem != "" {
				if len(all) != 1 || !strings.Contains(all[0].Error(), tt.problem) || !strings.Contains(all[0].Error(), "[0].header.value") {
					t.Errorf("%s %q: %v", kind, tt.value, all)
				}
				continue
			} else if len(all) > 0 {
				t.Errorf("%s %q: %v", kind, tt.value, all)
			}
			var got []Field
			if c.HTTP != nil {
				got = c.HTTP.Add
			} else {
				got = c.GRPC.Metadata
			}
			if len(got) != 1 || got[0].Value != tt.want {
				t.Errorf("%s %q: %+v", kind, tt.value, got)
			}
		}
	}
}
