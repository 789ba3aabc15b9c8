package xds

import (
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// expire begins, renews or ends the life of a resource, which is in force now.
func (t *taking) expire(x *took) {
	l, sh, e := t.ledger, t.shelf, x.entry
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.expiry != nil {
		e.expiry.Stop()
		e.expiry = nil
	}
	if x.ttl > 0 {
		e.due = time.Now().Add(x.ttl)
		e.expiry = time.AfterFunc(x.ttl, func() { t.client.expired(l, sh, e) })
	}
}

// expired removes a resource whose life is over, as if its source had.
func (c *Client) expired(l *ledger, sh *shelf, e *entry) {
	sh.taking.Lock()
	defer sh.taking.Unlock()
	name := e.res.Name
	l.mu.Lock()
	over := sh.entries[name] == e && e.expiry != nil && !time.Now().Before(e.due)
	l.mu.Unlock()
	if !over {
		return
	}
	c.stats.expired.Inc()
	singles, globs := l.askers(sh, name, nil)
	for _, g := range globs {
		key := resource.Key{Type: sh.kind.name, Name: g}
		c.o.Hub.DeliverAll(l.source, key, subscription.Delta{Version: e.res.Version, Remove: []string{name}})
	}
	if len(singles) > 0 {
		c.o.Hub.Remove(l.source, e.res.Key)
	}
	l.drop(sh, name)
}

// replay gives again what is in force to those who have come to want it anew.
func (c *Client) replay(l *ledger, w subscription.Want) {
	sh := l.shelf(kindOf(w.Type))
	sh.taking.Lock()
	defer sh.taking.Unlock()
	if !subscription.IsCollection(w.Key) {
		if e := l.get(sh, w.Name); e != nil {
			c.o.Hub.Deliver(l.source, e.res)
		}
		return
	}
	d := subscription.Delta{}
	for _, r := range l.members(sh, w.Name) {
		d.Set, d.Version = append(d.Set, r), r.Version
	}
	if len(d.Set) > 0 {
		c.o.Hub.DeliverAll(l.source, w.Key, d)
	}
}
