package xds

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/internal/fair"
	"github.com/weftproxy/weft/resource"
)

// fewParts is how many virtual hosts are not worth remembering.
const fewParts = 8

// virtualHosts is the number of RouteConfiguration.virtual_hosts.
const virtualHosts = 2

// A part is a virtual host of a route configuration in force.
type part struct {
	host *routev3.VirtualHost
	hash uint64 // of the message
}

// parse decodes and checks a resource. What is wrong with its content goes to p; an error says that it has none. e is the entry to be, have
// the one in force, nil if there is none.
func (t *taking) parse(b []byte, key resource.Key, have, e *entry, p *resource.Problems) (*resource.Resource, error) {
	if t.kind.name == resource.Route {
		if rest, hosts := splitHosts(b); len(hosts) >= fewParts {
			return t.routes(rest, hosts, key, have, e, p)
		}
	}
	m := t.kind.message()
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, t.invalid(err)
	}
	t.checker.Check(m, "", p)
	return resource.New(key, m, t.source.String(), "")
}

func (t *taking) invalid(err error) error {
	return fmt.Errorf("not a valid %s: %w", strings.TrimPrefix(t.kind.url, urlPrefix), err)
}

// splitHosts takes the virtual hosts out of a serialized RouteConfiguration. There are none where it is broken.
func splitHosts(b []byte) (rest []byte, hosts [][]byte) {
	for i := 0; len(b) > 0; i++ {
		fair.Turn(i)
		field, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, nil
		}
		size := protowire.ConsumeFieldValue(field, wire, b[n:])
		if size < 0 {
			return nil, nil
		}
		if field == virtualHosts && wire == protowire.BytesType {
			host, _ := protowire.ConsumeBytes(b[n:])
			hosts = append(hosts, host)
		} else {
			rest = append(rest, b[:n+size]...)
		}
		b = b[n+size:]
	}
	return rest, hosts
}

// routes is parse for a route configuration with many virtual hosts. Those whose bytes are in the version in force are its messages, neither
// decoded nor checked again: a change costs what has changed.
func (t *taking) routes(rest []byte, hosts [][]byte, key resource.Key, have, e *entry, p *resource.Problems) (*resource.Resource, error) {
	m := new(routev3.RouteConfiguration)
	if err := proto.Unmarshal(rest, m); err != nil {
		return nil, t.invalid(err)
	}
	t.checker.Check(m, "", p)
	res, err := resource.New(key, m, t.source.String(), "")
	if err != nil {
		return nil, err
	}
	m.VirtualHosts = make([]*routev3.VirtualHost, len(hosts))
	e.parts = make(map[uint64]part, len(hosts))
	sums := binary.BigEndian.AppendUint64(make([]byte, 0, 8+8*len(hosts)), res.Hash)
	for i, b := range hosts {
		fair.Turn(i)
		sum := maphash.Bytes(t.client.seed, b)
		var x part
		known := false
		if have != nil {
			x, known = have.parts[sum]
		}
		if !known {
			if x, err = t.host(b, key, i, p); err != nil {
				return nil, err
			}
		}
		e.parts[sum], m.VirtualHosts[i] = x, x.host
		sums = binary.BigEndian.AppendUint64(sums, x.hash)
	}
	all := sha256.Sum256(sums)
	res.Hash = binary.BigEndian.Uint64(all[:8])
	return res, nil
}

// host decodes and checks a virtual host.
func (t *taking) host(b []byte, key resource.Key, i int, p *resource.Problems) (part, error) {
	h := new(routev3.VirtualHost)
	if err := proto.Unmarshal(b, h); err != nil {
		return part{}, t.invalid(err)
	}
	at := resource.Path("").Field("virtual_hosts").Index(i)
	t.checker.Check(h, at, p)
	r, err := resource.New(key, h, "", at)
	if err != nil {
		return part{}, err
	}
	return part{h, r.Hash}, nil
}
