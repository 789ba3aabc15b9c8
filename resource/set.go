package resource

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
)

// The types of resources, for Key.Type.
const (
	Listener = "listener"
	Cluster  = "cluster"
	Route    = "route" // envoy.config.route.v3.RouteConfiguration
	Secret   = "secret"
	Endpoint = "endpoints" // envoy.config.endpoint.v3.ClusterLoadAssignment, named as its cluster or eds service name
	Scope    = "scoped route"
	VHost    = "virtual host"
	Filter   = "extension" // envoy.config.core.v3.TypedExtensionConfig
	Runtime  = "runtime"   // envoy.service.runtime.v3.Runtime
	Root     = "bootstrap" // the Bootstrap message without its static resources
)

// A Key names a resource.
type Key struct{ Type, Name string }

// String is the key as messages show it: `listener "ingress"`.
func (k Key) String() string { return k.Type + " " + strconv.Quote(k.Name) }

// A Resource is one named message and where it came from. It is immutable, and so is its message.
type Resource struct {
	Key
	Message proto.Message
	Version string // the source's word for this version; may be empty
	Hash    uint64 // of the message's deterministic serialization: equal messages have equal hashes
	Source  string // "file bootstrap.yaml"
	Path    Path   // its place in the source: "static_resources.clusters[0]"
}

// New returns a Resource with its Hash filled in. An error means that the message cannot be serialized (a string that is not
// UTF-8).
func New(key Key, m proto.Message, source string, at Path) (*Resource, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("hash %v: %w", key, err)
	}
	sum := sha256.Sum256(b)
	return &Resource{Key: key, Message: m, Hash: binary.BigEndian.Uint64(sum[:8]), Source: source, Path: at}, nil
}

// A Set is one whole configuration: all resources by type and name, in the order their source gives them. It is immutable.
type Set struct {
	// Bootstrap is the process's own options; its static_resources are those of the Set. Never nil in a loaded Set.
	Bootstrap *bootstrapv3.Bootstrap

	byKey  map[Key]*Resource
	byType map[string][]*Resource
}

// NewSet returns the Set of the given resources. A nil bootstrap stands for an empty one. Two resources with the same key are
// an error.
func NewSet(bootstrap *bootstrapv3.Bootstrap, resources []*Resource) (*Set, error) {
	if bootstrap == nil {
		bootstrap = &bootstrapv3.Bootstrap{}
	}
	s := &Set{Bootstrap: bootstrap, byKey: make(map[Key]*Resource, len(resources)), byType: map[string][]*Resource{}}
	for _, r := range resources {
		if first, ok := s.byKey[r.Key]; ok {
			return nil, fmt.Errorf("duplicate %v at %s, first at %s", r.Key, r.Path, first.Path)
		}
		s.byKey[r.Key] = r
		s.byType[r.Type] = append(s.byType[r.Type], r)
	}
	return s, nil
}

// Get returns the resource with the given key, or nil. A nil Set is empty.
func (s *Set) Get(k Key) *Resource {
	if s == nil {
		return nil
	}
	return s.byKey[k]
}

// All returns the resources of a type in the source's order. The slice belongs to the Set.
func (s *Set) All(kind string) []*Resource {
	if s == nil {
		return nil
	}
	return s.byType[kind]
}

// Len is the number of resources of all types.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.byKey)
}

// A Rejection says why a resource was not accepted; its previous version stays in force.
type Rejection struct {
	Key      Key
	Problems []Problem
	Resource *Resource // nil: it could not be read, or whoever is told knows it
}

// Error is the rejection's first problem.
func (r Rejection) Error() string {
	if len(r.Problems) == 0 {
		return r.Key.String() + ": rejected"
	}
	return r.Problems[0].Error()
}
