package auto

import (
	"context"
	"errors"
	"testing"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

func (n named) Open(context.Context, *conn.Conn, protocol.Owner) (protocol.Session, error) {
	return nil, errors.New(string(n))
}

func TestClientOpensWhatWasAgreedOn(t *testing.T) {
	cl := NewClient(named("h1"), named("h2"), named("other"))
	for _, tt := range []struct {
		tls  *conn.TLS
		want string
	}{
		{&conn.TLS{ALPN: "h2"}, "h2"}, {&conn.TLS{ALPN: "http/1.1"}, "h1"}, {&conn.TLS{ALPN: "http/1.0"}, "other"}, {&conn.TLS{}, "other"}, {nil, "other"},
	} {
		c, _ := pair(t, false)
		c.Info().TLS = tt.tls
		if _, err := cl.Open(t.Context(), c, nil); err.Error() != tt.want {
			t.Errorf("%+v: opened by %v", tt.tls, err)
		}
	}
}
