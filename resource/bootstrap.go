package resource

import (
	"fmt"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
)

// FromBootstrap is the Set of a Bootstrap's static resources. A second resource of a name is an error, and left out; so is a
// cluster without a name, which Check reports. source is the text for Resource.Source.
func FromBootstrap(b *bootstrapv3.Bootstrap, source string, p *Problems) *Set {
	static := b.GetStaticResources()
	all := make([]*Resource, 0, len(static.GetListeners())+len(static.GetClusters())+len(static.GetSecrets()))
	first := make(map[Key]Path, cap(all))
	add := func(key Key, m proto.Message, at Path) {
		if before, ok := first[key]; ok {
			p.Errorf(at, "give each "+key.Type+" a name of its own", "duplicate %s; the first is %s", key, before)
			return
		}
		first[key] = at
		r, err := New(key, m, source, at)
		if err != nil {
			p.Errorf(at, "", "%v", err)
			return
		}
		all = append(all, r)
	}
	const at = Path("static_resources")
	for i, l := range static.GetListeners() {
		add(Key{Type: Listener, Name: ListenerName(l, i)}, l, at.Field("listeners").Index(i))
	}
	for i, c := range static.GetClusters() {
		if c.GetName() == "" {
			continue // which breaks a rule and is reported
		}
		add(Key{Type: Cluster, Name: c.GetName()}, c, at.Field("clusters").Index(i))
	}
	for i, s := range static.GetSecrets() {
		add(Key{Type: Secret, Name: s.GetName()}, s, at.Field("secrets").Index(i))
	}
	set, err := NewSet(b, all)
	if err != nil { // keys are unique by now
		p.Errorf(at, "", "%v", err)
	}
	return set
}

// ListenerName is the name of the i-th listener (from 0). One without gets the address it binds, which stays the same over
// reloads; Envoy makes up a random one.
func ListenerName(l *listenerv3.Listener, i int) string {
	if l.GetName() != "" {
		return l.GetName()
	}
	if s := l.GetAddress().GetSocketAddress(); s != nil && s.GetPortValue() != 0 {
		return fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue())
	}
	if pipe := l.GetAddress().GetPipe(); pipe != nil {
		return pipe.GetPath()
	}
	return "#" + strconv.Itoa(i)
}
