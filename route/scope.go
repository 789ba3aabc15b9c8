package route

import (
	"iter"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
)

// A Scope says which route configuration requests of a scope key are routed by: Envoy's ScopedRouteConfiguration. Immutable.
type Scope struct {
	Name     string
	Key      string                      // as ScopeKeys.Append gives it
	Routes   string                      // route_configuration_name; "" when Inline is there
	Inline   *routev3.RouteConfiguration // nil: that called Routes is to be subscribed to
	OnDemand bool
}

// ReadScope reads a ScopedRouteConfiguration whose place is at. Problems go to p.
func ReadScope(cfg *routev3.ScopedRouteConfiguration, at resource.Path, p *resource.Problems) *Scope {
	s := &Scope{
		Name: cfg.GetName(), Routes: cfg.GetRouteConfigurationName(), Inline: cfg.GetRouteConfiguration(), OnDemand: cfg.GetOnDemand(),
	}
	if s.Name == "" {
		p.Errorf(at.Field("name"), "", "must not be empty")
	}
	switch {
	case s.Routes == "" && s.Inline == nil:
		p.Errorf(at, "", "one of route_configuration_name and route_configuration is required")
	case s.Routes != "" && s.Inline != nil:
		p.Errorf(at, "", "only one of route_configuration_name and route_configuration can be specified")
	case s.Inline != nil && s.OnDemand:
		p.Errorf(at.Field("on_demand"), "", "only routes that are subscribed to can be on demand")
	}
	here := at.Field("key").Field("fragments")
	if len(cfg.GetKey().GetFragments()) == 0 {
		p.Errorf(here, "", "must have at least one fragment")
	}
	var key []byte
	for i, f := range cfg.GetKey().GetFragments() {
		if _, ok := f.GetType().(*routev3.ScopedRouteConfiguration_Key_Fragment_StringKey); !ok {
			p.Errorf(here.Index(i), "add a string_key", "has no type")
		}
		key = appendFragment(key, f.GetStringKey())
	}
	s.Key = string(key)
	return s
}

// Scopes are what a connection manager routes by when it has scoped routes: a T for each scope. Immutable.
type Scopes[T any] struct {
	keys   *ScopeKeys
	byName map[string]*Scope
	byKey  map[string]entryOf[T]
}

// An entryOf is a scope and what belongs to it.
type entryOf[T any] struct {
	scope *Scope
	value T
}

// NewScopes returns no scopes, for requests whose key is what keys says.
func NewScopes[T any](keys *ScopeKeys) *Scopes[T] {
	return &Scopes[T]{keys: keys}
}

// Find returns what belongs to the scope of a request; ok is false when there is no such scope. It allocates nothing for keys of up to 256
// bytes.
func (s *Scopes[T]) Find(r *message.Request) (value T, ok bool) {
	var scratch [256]byte
	key, ok := s.keys.Append(scratch[:0], r)
	if !ok {
		return value, false
	}
	e, ok := s.byKey[string(key)]
	return e.value, ok
}

// Len returns how many scopes there are.
func (s *Scopes[T]) Len() int { return len(s.byName) }

// Get returns a scope by its name, nil when there is none, and what belongs to it.
func (s *Scopes[T]) Get(name string) (*Scope, T) {
	if scope := s.byName[name]; scope != nil {
		return scope, s.byKey[scope.Key].value
	}
	var zero T
	return nil, zero
}

// All returns the scopes by name.
func (s *Scopes[T]) All() []*Scope {
	out := make([]*Scope, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		out = append(out, s.byName[name])
	}
	return out
}

// Values returns what belongs to the scopes, in no order.
func (s *Scopes[T]) Values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, e := range s.byKey {
			if !yield(e.value) {
				return
			}
		}
	}
}

// With returns the scopes after a change: first without those of remove, then with those of set, which replace others of their names and
// get their values from value. A scope whose key another one has is left out, its old version stays, and it is in rejected with the reason.
func (s *Scopes[T]) With(remove []string, set []*Scope, value func(*Scope) T) (next *Scopes[T], rejected map[string]error) {
	next = &Scopes[T]{keys: s.keys, byName: maps.Clone(s.byName), byKey: maps.Clone(s.byKey)}
	if next.byName == nil {
		next.byName, next.byKey = map[string]*Scope{}, map[string]entryOf[T]{}
	}
	for _, name := range remove {
		next.drop(name)
	}
	old := map[string]entryOf[T]{}
	for _, scope := range set { // two may swap their keys
		if before := next.byName[scope.Name]; before != nil {
			old[scope.Name] = next.byKey[before.Key]
			next.drop(scope.Name)
		}
	}
	for _, scope := range set {
		if first, taken := next.byKey[scope.Key]; taken {
			if rejected == nil {
				rejected = map[string]error{}
			}
			rejected[scope.Name] = conflict{first.scope.Name, scope.Name}
			continue
		}
		next.byName[scope.Name] = scope
		next.byKey[scope.Key] = entryOf[T]{scope, value(scope)}
	}
	for name := range rejected {
		before, ok := old[name]
		if !ok {
			continue
		}
		if _, taken := next.byKey[before.scope.Key]; !taken {
			next.byName[name], next.byKey[before.scope.Key] = before.scope, before
		}
	}
	return next, rejected
}

// Replace returns the scopes with another value for one of them; the same when there is no such scope.
func (s *Scopes[T]) Replace(name string, value T) *Scopes[T] {
	scope := s.byName[name]
	if scope == nil {
		return s
	}
	next := &Scopes[T]{keys: s.keys, byName: s.byName, byKey: maps.Clone(s.byKey)}
	next.byKey[scope.Key] = entryOf[T]{scope, value}
	return next
}

func (s *Scopes[T]) drop(name string) {
	if before := s.byName[name]; before != nil {
		delete(s.byName, name)
		delete(s.byKey, before.Key)
	}
}

// A conflict is two scopes with one key.
type conflict struct{ first, second string }

func (c conflict) Error() string {
	return "scope key conflict found, first scope is '" + c.first + "', second scope is '" + c.second + "'"
}
