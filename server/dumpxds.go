package server

import (
	"maps"
	"slices"
	"time"

	"github.com/weftproxy/weft/admin"
	"github.com/weftproxy/weft/config/xds"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// dumpDynamic adds what control planes have sent.
func (p *process) dumpDynamic(d *admin.Dump) {
	d.AddWatched(p.hub.All(""))
	members := map[resource.Key]subscription.Status{}
	for _, st := range p.hub.All("") {
		if !subscription.IsCollection(st.Key) {
			continue
		}
		all := p.hub.Members(st.Source, st.Key)
		d.AddMembers(st.Source.String(), all)
		for _, m := range all {
			members[m.Key] = m
		}
	}
	l := p.live
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.clusters)) {
		x, st := l.clusters[name], take(members, resource.Cluster, name)
		if x.active != nil {
			d.Clusters = append(d.Clusters, inForce(x.active.resource, x.active.since, admin.Active, st))
		}
		if x.warming != nil {
			d.Clusters = append(d.Clusters, inForce(x.warming.resource, x.warming.since, admin.Warming, st))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.listeners)) {
		x, st := l.listeners[name], take(members, resource.Listener, name)
		if x.active != nil {
			d.Listeners = append(d.Listeners, inForce(x.active.resource, x.active.since, admin.Active, st))
		}
		if x.warming != nil {
			d.Listeners = append(d.Listeners, inForce(x.warming.resource, x.warming.since, admin.Warming, st))
		}
	}
	for _, st := range members { // of which no version was ever good
		switch e := admin.EntryOf(st); st.Key.Type {
		case resource.Cluster:
			e.Phase = admin.Warming
			d.Clusters = append(d.Clusters, e)
		case resource.Listener:
			d.Listeners = append(d.Listeners, e)
		}
	}
}

// take returns the state of a member and takes it out of the map.
func take(members map[resource.Key]subscription.Status, kind, name string) subscription.Status {
	key := resource.Key{Type: kind, Name: name}
	st := members[key]
	delete(members, key)
	return st
}

// inForce is the entry of a version of a cluster or listener, and of what came after it and was rejected.
func inForce(r *resource.Resource, since time.Time, phase admin.Phase, st subscription.Status) admin.DumpEntry {
	return admin.DumpEntry{
		Name: r.Name, Message: r.Message, Updated: since, Dynamic: true, Version: r.Version, Phase: phase, Failed: admin.FailedOf(st.Rejected),
	}
}

// streams is what /xds shows.
func (p *process) streams() []admin.Stream {
	all := p.client.Streams()
	out := make([]admin.Stream, len(all))
	for i := range all {
		s := &all[i]
		out[i] = admin.Stream{
			Source: s.Source, Transport: s.Transport, API: s.API, Method: s.Method, Connected: s.Connected, Since: s.Since, Streams: s.Streams,
			LastError: s.LastError, LastErrorAt: s.LastErrorAt, BackOff: s.BackOff, ControlPlane: s.ControlPlane, Types: streamTypes(s.Types),
		}
	}
	return out
}

func streamTypes(all []xds.TypeState) []admin.StreamType {
	out := make([]admin.StreamType, len(all))
	for i := range all {
		t := &all[i]
		out[i] = admin.StreamType{
			URL: t.URL, Names: t.Names, Wildcard: t.Wildcard, Version: t.Version, Nonce: t.Nonce, LastRequest: t.LastRequest,
			LastResponse: t.LastResponse, Pending: t.Pending, LastNACK: t.LastNACK,
		}
	}
	return out
}
