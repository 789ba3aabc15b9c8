// Package directresponse is the network filter envoy.filters.network.direct_response: it answers every connection with the same bytes and
// closes it.
package directresponse

import (
	"context"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// Extension is the network filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: "envoy.filters.network.direct_response", Config: &directv3.Config{}, Terminal: true,
		New: func(env *extension.Env, cfg proto.Message, _ conn.Handler) (extension.Built, error) {
			f, err := New(env, cfg.(*directv3.Config))
			return extension.Built{Handler: f}, err
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	return resource.Support{"envoy.extensions.filters.network.direct_response.v3.Config": resource.Names("response")}
}

// A Filter is the filter compiled. Immutable.
type Filter struct{ response []byte }

// New compiles the filter. A file is read at once.
func New(env *extension.Env, cfg *directv3.Config) (*Filter, error) {
	switch s := cfg.GetResponse().GetSpecifier().(type) {
	case nil:
		return &Filter{}, nil
	case *corev3.DataSource_InlineBytes:
		return &Filter{s.InlineBytes}, nil
	case *corev3.DataSource_InlineString:
		return &Filter{[]byte(s.InlineString)}, nil
	case *corev3.DataSource_Filename:
		if env.Format.ReadFile == nil {
			return nil, errors.New("response.filename: files are not read here")
		}
		b, err := env.Format.ReadFile(s.Filename)
		if err != nil {
			return nil, fmt.Errorf("response.filename: %w", err)
		}
		return &Filter{b}, nil
	case *corev3.DataSource_EnvironmentVariable:
		if env.Format.Getenv != nil {
			if v, ok := env.Format.Getenv(s.EnvironmentVariable); ok {
				return &Filter{[]byte(v)}, nil
			}
		}
		return nil, fmt.Errorf("response.environment_variable: %s is not set", s.EnvironmentVariable)
	}
	return nil, errors.New("response: unknown source")
}

// ServeConn sends the response.
func (f *Filter) ServeConn(_ context.Context, c *conn.Conn) error {
	_, err := c.Write(f.response)
	return err
}
