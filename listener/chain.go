package listener

import (
	"crypto/sha256"
	"log/slog"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/secret"
	transportsocket "github.com/weftproxy/weft/transport/socket"
)

// A Chain is a compiled filter chain. Immutable. Equal configuration gives the same Chain again.
type Chain struct {
	Name           string
	transport      transportsocket.Server // nil: the plain one, which has no handshake
	connectTimeout time.Duration          // of the handshake; 0: none
	handler        conn.Handler           // nil for a chain without filters, which closes its connections
	built          *extension.Built
	secrets        []secret.Ref          // that it names
	watches        []*subscription.Watch // of secrets that are delivered to it; those of the terminal filter are in built

	key   digest // of all it was compiled from
	frame digest // of what a connection cannot change over to without being closed: all but the match, the name and the terminal filter
	place string // what finds the previous version of this chain: its name or its match
}

// digest is a hash of configuration. The zero digest is of what could not be hashed, and equals nothing.
type digest [sha256.Size]byte

func (d digest) equal(e digest) bool { return d != digest{} && d == e }

// hash hashes messages after what was hashed before.
func hash(before []byte, messages ...proto.Message) digest {
	h := sha256.New()
	h.Write(before)
	for _, m := range messages {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return digest{}
		}
		h.Write(b)
	}
	return digest(h.Sum(nil))
}

// serves reports whether connections of an older chain can go on under c: they have the same handler and nothing before it differs.
func (c *Chain) serves(old *Chain) bool {
	return c == old || c.built != nil && old.built != nil && c.built.Handler == old.built.Handler && c.frame.equal(old.frame)
}

// A chainCompiler compiles the filter chains of one listener.
type chainCompiler struct {
	env      *extension.Env
	p        *resource.Problems
	secrets  *secret.View      // for the chain that is being compiled; nil where there are none
	facts    []byte            // hash of what chains are compiled with besides their own configuration
	previous map[digest]*Chain // by key
	byPlace  map[string]*Chain
}

func newChainCompiler(env *extension.Env, p *resource.Problems, facts digest, prev *Config) *chainCompiler {
	cc := &chainCompiler{env: env, p: p, facts: facts[:], previous: map[digest]*Chain{}, byPlace: map[string]*Chain{}}
	if prev == nil || !prev.facts.equal(facts) {
		return cc
	}
	for _, c := range prev.chains {
		cc.previous[c.key] = c
		cc.byPlace[c.place] = c
	}
	return cc
}

// defaultPlace is the place of the default filter chain, which has no match.
const defaultPlace = "default"

// compile compiles one chain; nil when something is wrong with it.
func (cc *chainCompiler) compile(cfg *listenerv3.FilterChain, at resource.Path, place string) *Chain {
	c := &Chain{Name: cfg.GetName(), place: place, key: hash(cc.facts, cfg)}
	if old := cc.previous[c.key]; old != nil && old.key.equal(c.key) && old.place == place {
		cc.check(old)
		return old
	}
	c.frame = cc.frame(cfg)
	if cc.env.Secrets != nil {
		cc.secrets = cc.env.Secrets.Fresh()
	}
	c.transport, c.connectTimeout = cc.transport(cfg, at.Field("transport_socket")), connectTimeout(cfg, at, cc.p)
	last := len(cfg.GetFilters()) - 1
	for i := last; i >= 0; i-- {
		if !cc.filter(c, cfg.GetFilters()[i], at.Field("filters").Index(i), i == last) {
			return nil
		}
	}
	if cc.secrets != nil {
		c.secrets, c.watches = cc.secrets.Used(), cc.secrets.Watches()
	}
	return c
}

// check reports the secrets of a chain that did not change which are no longer there.
func (cc *chainCompiler) check(c *Chain) {
	if cc.env.Secrets != nil {
		cc.env.Secrets.Check(c.secrets, cc.p)
	}
}

// frame hashes what Chain.frame is about.
func (cc *chainCompiler) frame(cfg *listenerv3.FilterChain) digest {
	rest := proto.Clone(cfg).(*listenerv3.FilterChain)
	rest.FilterChainMatch, rest.Name, rest.Metadata = nil, "", nil
	if n := len(rest.Filters); n > 0 {
		rest.Filters = rest.Filters[:n-1]
	}
	return hash(cc.facts, rest)
}

// transport compiles the transport socket.
func (cc *chainCompiler) transport(cfg *listenerv3.FilterChain, at resource.Path) transportsocket.Server {
	env := &transportsocket.Env{
		Sockets: cc.env.Registry.Sockets(), Secrets: cc.secrets, Stats: cc.env.Listener.Scope, Log: cc.env.Log,
		Runtime: cc.env.Options.Runtime.Lookup, Problems: cc.p,
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	return env.Sockets.Server(env, cfg.GetTransportSocket(), at)
}

// filter compiles one network filter in front of what c has already.
func (cc *chainCompiler) filter(c *Chain, cfg *listenerv3.Filter, at resource.Path, last bool) bool {
	if cfg.GetTypedConfig() == nil {
		cc.p.Errorf(at, "give it a typed_config", "filter %q has no typed_config", cfg.GetName())
		return false
	}
	at = at.Field("typed_config")
	kind, msg, ok := cc.find(cfg, at)
	if !ok {
		return false
	}
	switch {
	case kind.Terminal && !last:
		cc.p.Errorf(at, "move it to the end of the filters", "terminal filter %q must be the last filter in a network filter chain", cfg.GetName())
		return false
	case !kind.Terminal && last:
		cc.p.Errorf(at, "end the filters with a connection manager or a TCP proxy", "non-terminal filter %q is the last filter in a network filter chain", cfg.GetName())
		return false
	}
	sub := *cc.env
	sub.Path, sub.Problems, sub.Secrets = at, cc.p, cc.secrets
	if !kind.Terminal {
		h, err := kind.Wrap(&sub, msg, c.handler)
		if err != nil {
			cc.p.Errorf(at, "", "%v", err)
			return false
		}
		c.handler = h
		return true
	}
	var prev conn.Handler
	if old := cc.byPlace[c.place]; old != nil && old.built != nil {
		prev = old.built.Handler
	}
	built, err := kind.New(&sub, msg, prev)
	if err != nil {
		cc.p.Errorf(at, "", "%v", err)
		return false
	}
	c.handler, c.built = built.Handler, &built
	return true
}

func (cc *chainCompiler) find(cfg *listenerv3.Filter, at resource.Path) (extension.NetworkFilter, proto.Message, bool) {
	msg, err := resource.Decode(cfg.GetTypedConfig())
	if err != nil {
		cc.p.Errorf(at, "", "%v", err)
		return extension.NetworkFilter{}, nil, false
	}
	kind, ok := cc.env.Registry.Network(msg)
	if !ok {
		cc.p.Add(resource.Problem{Path: at, Kind: resource.UnsupportedExtension,
			Message: "network filter " + cfg.GetName() + " (" + string(msg.ProtoReflect().Descriptor().FullName()) + ") is not supported"})
	}
	return kind, msg, ok
}
