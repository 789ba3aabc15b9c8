package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/snapshot"
	"github.com/weftproxy/weft/subscription"
)

// A generation is a configuration that was compiled: in force, or about to be. Immutable.
type generation struct {
	*loaded
	snap    *snapshot.Snapshot
	at      time.Time
	changed map[resource.Key]time.Time // when each resource got its present content
}

// compile makes the generation that follows the one in force. With errors, of reading or of compiling, nothing is kept of it; what was
// read is compiled even then, so that all that is wrong is told at once.
func (p *process) compile(l *loaded) (*generation, error) {
	if l.set == nil {
		return nil, l.err()
	}
	var prev *snapshot.Snapshot
	before := p.current.Load()
	if before != nil {
		prev = before.snap
	}
	snap, err := p.compileSnapshot(prev, l)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	kept := *l
	kept.problems = nil
	next := &generation{loaded: &kept, snap: snap, at: now, changed: changes(before, l.set, now)}
	if err := l.err(); err != nil {
		p.discard(next)
		return nil, err
	}
	return next, nil
}

// compileSnapshot is snapshot.Compile with its rejections noted. A panic in it is a fault of the program, and no reason to end a process
// that serves.
func (p *process) compileSnapshot(prev *snapshot.Snapshot, l *loaded) (snap *snapshot.Snapshot, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			p.log.Error("panic in compiling the configuration", "panic", fault, "stack", string(debug.Stack()))
			err = fmt.Errorf("configuration '%s' cannot be compiled, which is a fault of the program: %v", l.name, fault)
		}
	}()
	snap, rejected := snapshot.Compile(prev, l.set, &p.env, p.upstreams, p.secrets)
	l.reject(append(rejected, checkRoot(l.set.Bootstrap)...))
	l.add(snap.Warnings)
	return snap, nil
}

// checkRoot rejects what is in the bootstrap outside of resources and nobody implements.
func checkRoot(b *bootstrapv3.Bootstrap) []resource.Rejection {
	if prefix := b.GetHeaderPrefix(); prefix == "" || prefix == "x-envoy" {
		return nil
	}
	root := resource.Key{Type: resource.Root}
	problems := &resource.Problems{}
	problems.Unsupported("header_prefix", "headers begin with x-envoy")
	return []resource.Rejection{{Key: root, Problems: problems.All()}}
}

// apply puts a generation into effect: make before break. When it returns an error the one before is in force as if nothing
// had been tried.
func (p *process) apply(ctx context.Context, next *generation) error {
	prev := p.current.Load()
	next.snap.PublishSecrets()
	held := holdListeners(next)
	opened, err := p.open(ctx, next, held)
	if err != nil {
		if prev != nil {
			prev.snap.PublishSecrets()
			p.live.statics.Store(prev.snap.Clusters)
		}
		release(held)
		p.discard(next)
		return err
	}
	if err := firstError(p.layers.load(next.set.Bootstrap)); err != nil {
		p.log.Error("runtime layer", "error", err) // which is empty now
	}
	p.changeStatic(next, func() {
		if p.o.Mode != ModeInitOnly {
			p.switchListeners(next, opened)
		}
	})
	release(p.held)
	p.held = held
	p.retireClusters(prev, next)
	return nil
}

// open starts the clusters of a generation, has its listeners get what they need, and opens them.
func (p *process) open(ctx context.Context, next *generation, held []*subscription.Watch) (map[string]*listener.Listener, error) {
	if err := p.startClusters(ctx, next); err != nil {
		return nil, err
	}
	if err := p.firstResources(ctx, next); err != nil {
		return nil, err
	}
	if err := subscription.Wait(ctx, held); err != nil {
		return nil, err
	}
	return p.openListeners(ctx, next)
}

// errStopping is what a reload gets while the process ends.
var errStopping = errors.New("the process is shutting down")

// reload reads the configuration again and applies what is different. It blocks until that is in force or refused; a
// configuration with any error, or one that cannot be put into effect whole, changes nothing. The problems are the errors and
// warnings that were found.
func (p *process) reload(ctx context.Context) ([]resource.Problem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems, err := p.reloadLocked(ctx)
	if err != nil {
		p.status.server.reloadFailure.Inc()
		p.log.Error("reload refused; the configuration in force stays", "error", err)
		return problems, err
	}
	p.status.server.reloadSuccess.Inc()
	p.tidy()
	return problems, nil
}

func (p *process) reloadLocked(ctx context.Context) ([]resource.Problem, error) {
	if p.stopping.Err() != nil {
		return nil, errStopping
	}
	prev := p.current.Load()
	if prev == nil {
		return nil, errors.New("the process is still initializing")
	}
	if p.o.Bootstrap != nil {
		return nil, errors.New("this configuration was not read from a file: there is nothing to read again")
	}
	began := time.Now()
	l := p.o.load(p.env.Registry.Support())
	next, err := p.compile(l)
	p.logProblems(l)
	if err != nil {
		return l.serious(), err
	}
	ctx, cancel := p.untilStopping(ctx)
	defer cancel()
	if err := p.apply(ctx, next); err != nil {
		return l.serious(), err
	}
	p.warnFixed(prev, next)
	p.log.Info("reloaded", "configuration", l.name, "version", next.snap.Version, "changed", p.difference(prev, next), "took", time.Since(began))
	return l.serious(), nil
}

// untilStopping is a context that ends with ctx or when the process begins to end.
func (p *process) untilStopping(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.stopping, func() { cancel(errStopping) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// warnFixed names the parts of the bootstrap that have changed and are read only once.
func (p *process) warnFixed(prev, next *generation) {
	a, b := prev.set.Bootstrap, next.set.Bootstrap
	var changed []string
	for _, part := range []struct {
		name string
		same bool
	}{
		{"admin", proto.Equal(a.GetAdmin(), b.GetAdmin())},
		{"node", proto.Equal(a.GetNode(), b.GetNode())},
		{"dynamic_resources", proto.Equal(a.GetDynamicResources(), b.GetDynamicResources())},
		{"stats_config", proto.Equal(a.GetStatsConfig(), b.GetStatsConfig())},
		{"stats_flush_interval", proto.Equal(a.GetStatsFlushInterval(), b.GetStatsFlushInterval())},
		{"cluster_manager", proto.Equal(a.GetClusterManager(), b.GetClusterManager())},
		{"overload_manager", proto.Equal(a.GetOverloadManager(), b.GetOverloadManager())},
		{"typed_dns_resolver_config", proto.Equal(a.GetTypedDnsResolverConfig(), b.GetTypedDnsResolverConfig())},
		{"application_log_config", proto.Equal(a.GetApplicationLogConfig(), b.GetApplicationLogConfig())},
	} {
		if !part.same {
			changed = append(changed, part.name)
		}
	}
	if len(changed) > 0 {
		p.log.Warn("changed, but read only at the start: restart to put it into effect", "fields", strings.Join(changed, " "))
	}
}

// difference says in a few words what a reload has changed.
func (p *process) difference(prev, next *generation) string {
	var parts []string
	for _, kind := range []string{resource.Listener, resource.Cluster, resource.Secret} {
		added, modified, removed := compare(prev.set.All(kind), next.set.All(kind))
		if n := len(added) + len(modified) + len(removed); n > 0 {
			parts = append(parts, fmt.Sprintf("%ss +%d ~%d -%d", kind, len(added), len(modified), len(removed)))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// compare finds by name and hash what differs between two lists of resources.
func compare(prev, next []*resource.Resource) (added, modified, removed []string) {
	before := make(map[string]uint64, len(prev))
	for _, r := range prev {
		before[r.Name] = r.Hash
	}
	for _, r := range next {
		hash, had := before[r.Name]
		switch {
		case !had:
			added = append(added, r.Name)
		case hash != r.Hash:
			modified = append(modified, r.Name)
		}
		delete(before, r.Name)
	}
	for name := range before {
		removed = append(removed, name)
	}
	slices.Sort(removed)
	return added, modified, removed
}
