// Package echo is the network filter envoy.filters.network.echo: it sends back what it receives.
package echo

import (
	"context"
	"errors"
	"io"

	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// Extension is the network filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: "envoy.filters.network.echo", Config: &echov3.Echo{}, Terminal: true,
		New: func(*extension.Env, proto.Message, conn.Handler) (extension.Built, error) {
			return extension.Built{Handler: Filter{}}, nil
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields, of which there are none.
func Support() resource.Support {
	return resource.Support{"envoy.extensions.filters.network.echo.v3.Echo": resource.Fields{}}
}

// A Filter sends back what it receives. All of them are alike.
type Filter struct{}

// ServeConn echoes until the peer has said all.
func (Filter) ServeConn(_ context.Context, c *conn.Conn) error {
	for {
		b := c.Buffered()
		if _, err := c.Write(b); err != nil {
			return err
		}
		c.Discard(len(b))
		c.Release()
		if err := c.Fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
