package directresponse

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

func TestAnswers(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
	env := &extension.Env{}
	env.Format.ReadFile = func(name string) ([]byte, error) {
		if name == "there" {
			return []byte("from a file"), nil
		}
		return nil, errors.New("no such file")
	}
	env.Format.Getenv = func(name string) (string, bool) { return "from the environment", name == "SET" }
	for _, tt := range []struct{ cfg, want, err string }{
		{`{}`, "", ""},
		{`{"response": {"inlineString": "hello"}}`, "hello", ""},
		{`{"response": {"inlineBytes": "AAEC"}}`, "\x00\x01\x02", ""},
		{`{"response": {"filename": "there"}}`, "from a file", ""},
		{`{"response": {"environmentVariable": "SET"}}`, "from the environment", ""},
		{`{"response": {"filename": "elsewhere"}}`, "", "no such file"},
		{`{"response": {"environmentVariable": "UNSET"}}`, "", "UNSET is not set"},
	} {
		var m directv3.Config
		if err := protojson.Unmarshal([]byte(tt.cfg), &m); err != nil {
			t.Fatal(err)
		}
		f, err := New(env, &m)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.cfg, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		a, b := net.Pipe()
		done := make(chan error)
		go func() { // ends when all is read
			err := f.ServeConn(t.Context(), conn.New(a))
			_ = a.Close()
			done <- err
		}()
		got, err := io.ReadAll(b)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v", tt.cfg, got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
