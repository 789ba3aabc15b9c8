package socket

import (
	"fmt"
	"log/slog"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/transport/secret"
)

// A Factory builds transport sockets of one kind.
type Factory struct {
	Name   string        // envoy.transport_sockets.tls
	Config proto.Message // by whose type it is found
	// NewServer and NewClient compile a configuration. What is wrong they report to env.Problems, or return. nil: not for that side.
	NewServer func(env *Env, cfg proto.Message) (Server, error)
	NewClient func(env *Env, cfg proto.Message) (Client, error)
	Support   func() resource.Support
}

// Env is what a factory may use. A factory keeps what it needs of it.
type Env struct {
	Sockets  *Registry                                // for sockets around other sockets
	Secrets  *secret.View                             // of the configuration that is being compiled
	Stats    *stats.Scope                             // listener.<address>. or cluster.<name>.
	Log      *slog.Logger                             // never nil
	Runtime  func(key string) (value string, ok bool) // never nil
	Path     resource.Path                            // of the configuration message
	Problems *resource.Problems
}

// A Registry finds factories by the type of their configuration. Read-only once built.
type Registry struct {
	all map[protoreflect.FullName]Factory
}

// NewRegistry checks that nothing is listed twice.
func NewRegistry(all ...Factory) (*Registry, error) {
	r := &Registry{all: make(map[protoreflect.FullName]Factory, len(all))}
	for _, f := range all {
		key := f.Config.ProtoReflect().Descriptor().FullName()
		if _, twice := r.all[key]; twice {
			return nil, fmt.Errorf("transport socket %q: configuration type %s is registered twice", f.Name, key)
		}
		r.all[key] = f
	}
	return r, nil
}

// Server compiles the transport socket of a filter chain that stands at a place; nil is the plain one. Where something is wrong, problems
// are reported and the result is of no use.
func (r *Registry) Server(env *Env, cfg *corev3.TransportSocket, at resource.Path) Server {
	f, msg, sub := r.find(env, cfg, at)
	switch {
	case msg == nil:
		return nil
	case f.NewServer == nil:
		sub.Problems.Add(resource.Problem{Path: sub.Path, Kind: resource.UnsupportedExtension,
			Message: fmt.Sprintf("%s (%s) is not a downstream transport socket", cfg.GetName(), msg.ProtoReflect().Descriptor().FullName())})
		return nil
	}
	s, err := f.NewServer(sub, msg)
	if err != nil {
		sub.Problems.Errorf(sub.Path, "", "%v", err)
		return nil
	}
	return s
}

// Client is Server for the transport socket of a cluster.
func (r *Registry) Client(env *Env, cfg *corev3.TransportSocket, at resource.Path) Client {
	f, msg, sub := r.find(env, cfg, at)
	switch {
	case msg == nil:
		return nil
	case f.NewClient == nil:
		sub.Problems.Add(resource.Problem{Path: sub.Path, Kind: resource.UnsupportedExtension,
			Message: fmt.Sprintf("%s (%s) is not an upstream transport socket", cfg.GetName(), msg.ProtoReflect().Descriptor().FullName())})
		return nil
	}
	s, err := f.NewClient(sub, msg)
	if err != nil {
		sub.Problems.Errorf(sub.Path, "", "%v", err)
		return nil
	}
	return s
}

// find returns the factory of a transport socket with its message, which is nil for the plain one and for what was reported.
func (r *Registry) find(env *Env, cfg *corev3.TransportSocket, at resource.Path) (Factory, proto.Message, *Env) {
	sub := *env
	sub.Path = at.Field("typed_config")
	if cfg == nil {
		return Factory{}, nil, &sub
	}
	if cfg.GetTypedConfig() == nil {
		sub.Problems.Errorf(at, "give it a typed_config", "transport socket %q has no typed_config", cfg.GetName())
		return Factory{}, nil, &sub
	}
	msg, err := resource.Decode(cfg.GetTypedConfig())
	if err != nil {
		sub.Problems.Errorf(sub.Path, "", "%v", err)
		return Factory{}, nil, &sub
	}
	name := msg.ProtoReflect().Descriptor().FullName()
	if name == "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" {
		return Factory{}, nil, &sub
	}
	f, ok := r.all[name]
	if !ok {
		sub.Problems.Add(resource.Problem{Path: sub.Path, Kind: resource.UnsupportedExtension,
			Message: fmt.Sprintf("transport socket %s (%s) is not supported", cfg.GetName(), name)})
		return Factory{}, nil, &sub
	}
	return f, msg, &sub
}
