package listener

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
	"github.com/weftproxy/weft/transport/secret"
)

// Defaults of Envoy's Listener message.
const (
	defaultBufferLimit   = 1 << 20
	defaultFilterTimeout = 15 * time.Second
)

// A Config is a compiled Listener message. Immutable.
type Config struct {
	Name        string
	bind        bool
	inbound     bool
	modifyOnly  bool
	addresses   []address
	inspectors  []inspector
	timeout     time.Duration // of all listener filters together; 0: none
	onTimeout   bool          // go on when it passes
	matcher     matcher
	fallback    *Chain   // nil when there is no default filter chain
	chains      []*Chain // all, the default one last
	logs        []accesslog.Writer
	readsHello  bool   // tls_inspector is among the inspectors
	limitKey    string // runtime key of the connection limit
	ignoreLimit bool   // of the process
	facts       digest // of what chains are compiled with besides their own configuration

	scope *stats.Scope
	stats *stats.Group[Stats]
}

// Compile compiles a Listener. It binds nothing. prev is the previous version, nil when there is none: filter chains that did not change
// are taken from it, and handlers that can serve a changed chain. When p has errors afterwards the result is not to be used.
func Compile(env *extension.Env, cfg *listenerv3.Listener, at resource.Path, p *resource.Problems, prev *Config) *Config {
	c := &Config{
		Name:        cfg.GetName(),
		bind:        bindToPort(cfg),
		inbound:     cfg.GetTrafficDirection() == corev3.TrafficDirection_INBOUND,
		modifyOnly:  cfg.GetDrainType() == listenerv3.Listener_MODIFY_ONLY,
		addresses:   compileAddresses(cfg, at, p),
		timeout:     defaultFilterTimeout,
		onTimeout:   cfg.GetContinueOnListenerFiltersTimeout(),
		limitKey:    "envoy.resource_limits.listener." + cfg.GetName() + ".connection_limit",
		ignoreLimit: cfg.GetIgnoreGlobalConnLimit(),
	}
	if d := cfg.GetListenerFiltersTimeout(); d != nil {
		if c.timeout = d.AsDuration(); c.timeout < 0 {
			p.Errorf(at.Field("listener_filters_timeout"), "0s is no timeout", "%v is negative", c.timeout)
		}
	}
	if len(c.addresses) == 0 {
		return c
	}
	sub := *env
	sub.Problems = p
	sub.Listener = c.describe(env, cfg)
	c.stats = stats.NewGroup[Stats](c.scope)
	filters, err := withTLSInspector(&sub, cfg)
	if err != nil {
		p.Errorf(at, "", "tls_inspector: %v", err)
	}
	c.readsHello = slices.ContainsFunc(filters, isTLSInspector)
	c.inspectors = compileInspectors(&sub, filters, at.Field("listener_filters"), p)
	c.compileChains(&sub, cfg, at, p, prev)
	for i, l := range cfg.GetAccessLog() {
		if w := sub.CompileLog(l, at.Field("access_log").Index(i)); w != nil {
			c.logs = append(c.logs, w)
		}
	}
	return c
}

func bindToPort(cfg *listenerv3.Listener) bool {
	if b := cfg.GetBindToPort(); b != nil {
		return b.GetValue()
	}
	if b := cfg.GetDeprecatedV1().GetBindToPort(); b != nil {
		return b.GetValue()
	}
	return true
}

// describe gives what factories may know of the listener, and makes its scope of statistics.
func (c *Config) describe(env *extension.Env, cfg *listenerv3.Listener) extension.Listener {
	name := cfg.GetStatPrefix()
	if name == "" {
		name = c.addresses[0].name()
	}
	c.scope = env.Stats.Scope("listener."+name, stats.Tag{Name: "envoy.listener_address", Value: name})
	l := extension.Listener{Name: c.Name, BufferLimit: defaultBufferLimit, Scope: c.scope}
	if b := cfg.GetPerConnectionBufferLimitBytes(); b != nil {
		l.BufferLimit = int(b.GetValue())
	}
	if d := cfg.GetTrafficDirection(); d != corev3.TrafficDirection_UNSPECIFIED {
		l.Traffic = d.String()
	}
	c.facts = hash([]byte(fmt.Sprintf("%q %q %d %q", c.Name, name, l.BufferLimit, l.Traffic)))
	return l
}

// compileChains compiles the filter chains and the matcher.
func (c *Config) compileChains(env *extension.Env, cfg *listenerv3.Listener, at resource.Path, p *resource.Problems, prev *Config) {
	cc := newChainCompiler(env, p, c.facts, prev)
	c.matcher = matcher{}
	places := places{matches: map[digest]resource.Path{}, titles: map[digest]string{}, names: map[string]bool{}}
	for i, fc := range cfg.GetFilterChains() {
		here := at.Field("filter_chains").Index(i)
		place, ok := places.of(fc, here, p)
		if !ok {
			continue
		}
		criteria := compileCriteria(fc.GetFilterChainMatch(), here.Field("filter_chain_match"), p)
		chain := cc.compile(fc, here, place)
		if chain == nil {
			continue
		}
		c.chains = append(c.chains, chain)
		if err := c.matcher.add(criteria, chain); err != nil {
			p.Errorf(here.Field("filter_chain_match"), "", "%v", err)
		}
	}
	if fc := cfg.GetDefaultFilterChain(); fc != nil {
		if c.fallback = cc.compile(fc, at.Field("default_filter_chain"), defaultPlace); c.fallback != nil {
			c.chains = append(c.chains, c.fallback)
		}
	}
	if len(cfg.GetFilterChains()) == 0 && cfg.GetDefaultFilterChain() == nil {
		p.Errorf(at.Field("filter_chains"), "", "no filter chains specified")
	}
}

// places are what was seen of the filter chains so far.
type places struct {
	matches map[digest]resource.Path // of the match: where its chain is
	titles  map[digest]string        // and what it is called
	names   map[string]bool
}

// of returns what identifies a chain from one version of the configuration to the next: its name where that is unique, else its match.
func (s *places) of(fc *listenerv3.FilterChain, at resource.Path, p *resource.Problems) (string, bool) {
	match := hash([]byte("match"), proto.Message(fc.GetFilterChainMatch()))
	if first, twice := s.matches[match]; twice {
		p.Errorf(at.Field("filter_chain_match"), "each filter chain needs a match of its own; the first is "+string(first), "filter chain %q has the same matching rules defined as %q", fc.GetName(), s.titles[match])
		return "", false
	}
	s.matches[match], s.titles[match] = at, fc.GetName()
	if name := fc.GetName(); name != "" && !s.names[name] {
		s.names[name] = true
		return "name " + name, true
	}
	return "match " + string(match[:]), true
}

// Built returns the compiled terminal filters of all filter chains, each once.
func (c *Config) Built() []extension.Built {
	var all []extension.Built
	for _, chain := range c.chains {
		if chain.built != nil {
			all = append(all, *chain.built)
		}
	}
	return all
}

// Secrets returns the static secrets that the filter chains name, some perhaps more than once.
func (c *Config) Secrets() []secret.Ref {
	var all []secret.Ref
	for _, chain := range c.chains {
		all = append(all, chain.secrets...)
	}
	return all
}

// Watches returns what the filter chains have delivered to them, some perhaps more than once. Whoever puts the Config into effect holds them.
func (c *Config) Watches() []*subscription.Watch {
	var all []*subscription.Watch
	for _, chain := range c.chains {
		all = append(all, chain.watches...)
		if chain.built != nil {
			all = append(all, chain.built.Watches...)
		}
	}
	return all
}

// SameSockets reports whether a listener bound for c can serve other without binding anew.
func (c *Config) SameSockets(other *Config) bool {
	if c.bind != other.bind || len(c.addresses) != len(other.addresses) {
		return false
	}
	for i := range c.addresses {
		if !c.addresses[i].same(&other.addresses[i]) {
			return false
		}
	}
	return true
}

// Fixed returns the addresses that the listener opens and no other can: none without bind_to_port, and none whose port the system chooses.
func (c *Config) Fixed() []string {
	if !c.bind {
		return nil
	}
	var all []string
	for i := range c.addresses {
		if _, port, _ := net.SplitHostPort(c.addresses[i].address); port != "0" {
			all = append(all, c.addresses[i].address)
		}
	}
	return all
}

// Address returns the listener's first address: ip:port, or the path of a unix socket.
func (c *Config) Address() string { return c.addresses[0].address }

// Inbound reports whether traffic_direction is INBOUND.
func (c *Config) Inbound() bool { return c.inbound }

// ModifyOnly reports whether drain_type is MODIFY_ONLY: the listener's connections are told to end when it is changed or removed, and
// not when the process drains because its health check was failed.
func (c *Config) ModifyOnly() bool { return c.modifyOnly }

// A Match is the filter chain that a connection would take.
type Match struct {
	Name  string
	Index int // in the listener's filter_chains; -1: the default one
	TLS   bool
	Built extension.Built // its terminal filter
}

// Match returns the filter chain for a connection. ok is false when the connection would be closed.
func (c *Config) Match(info *conn.Info) (m Match, ok bool) {
	chain := c.match(info)
	if chain == nil || chain.built == nil {
		return Match{}, false
	}
	m = Match{Name: chain.Name, Index: slices.Index(c.chains, chain), TLS: chain.transport != nil, Built: *chain.built}
	if chain == c.fallback {
		m.Index = -1
	}
	return m, true
}

// ReadsClientHello reports whether a connection's ClientHello is read before its filter chain is chosen: a TLS connection counts as plain
// text, without a server name, to a listener that does not.
func (c *Config) ReadsClientHello() bool { return c.readsHello }

func (c *Config) match(info *conn.Info) *Chain {
	if chain := c.matcher.match(info); chain != nil {
		return chain
	}
	return c.fallback
}

// String names the listener for messages.
func (c *Config) String() string {
	var names []string
	for i := range c.addresses {
		names = append(names, c.addresses[i].name())
	}
	return fmt.Sprintf("listener %q (%s)", c.Name, strings.Join(names, ", "))
}
