package secret

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/test/certs"
)

// A runner is a store that runs.
type runner struct {
	*Store
	t     *testing.T
	w     *watcher // to be looked at after stop
	stats *stats.Store
	log   *journal
	reads atomic.Int64 // of environment variables
	stop  func()
}

// run runs a store until the test ends. Without changes it looks at nothing for a long time.
func run(t *testing.T, edit func(*Options)) *runner {
	t.Helper()
	r := &runner{t: t, stats: stats.NewStore(stats.Options{}), log: &journal{}}
	o := Options{
		Stats: r.stats, Log: r.log.logger(), Debounce: 5 * time.Millisecond, Retry: 10 * time.Millisecond, Poll: time.Hour,
		Getenv: func(string) (string, bool) { r.reads.Add(1); return "secret", true },
	}
	if edit != nil {
		edit(&o)
	}
	r.Store = NewStore(o)
	r.w = newWatcher(r.Store)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		defer r.w.close()
		r.w.run(ctx)
	})
	r.stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

func (r *runner) counter(name string) uint64 { return r.stats.Scope("secret.").Counter(name).Value() }

// becomes waits until the slot has a certificate.
func (r *runner) becomes(slot *Slot[KeyPair], p *certs.Pair) {
	r.t.Helper()
	eventually(r.t, "the certificate changes", func() bool { return slot.Load().Certificate.Leaf.Equal(p.Leaf) })
}

func TestChangedFilesAreRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string, p *certs.Pair)
	}{
		{"overwritten", func(t *testing.T, dir string, p *certs.Pair) { writePair(t, dir, p) }},
		{"key first", func(t *testing.T, dir string, p *certs.Pair) {
			write(t, filepath.Join(dir, "tls.key"), must(p.KeyPEM()))
			write(t, filepath.Join(dir, "tls.crt"), p.PEM())
		}},
		{"renamed over", func(t *testing.T, dir string, p *certs.Pair) {
			rename(t, filepath.Join(dir, "tls.crt"), p.PEM())
			rename(t, filepath.Join(dir, "tls.key"), must(p.KeyPEM()))
		}},
		{"removed and made again", func(t *testing.T, dir string, p *certs.Pair) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			writePair(t, dir, p)
		}},
		{"the directory renamed over", func(t *testing.T, dir string, p *certs.Pair) {
			writePair(t, dir+".new", p)
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(dir+".new", dir); err != nil {
				t.Fatal(err)
			}
		}},
		{"replaced by links", func(t *testing.T, dir string, p *certs.Pair) {
			writePair(t, dir+".there", p)
			swap(t, filepath.Join(dir, "tls.crt"), filepath.Join("..", filepath.Base(dir)+".there", "tls.crt"))
			swap(t, filepath.Join(dir, "tls.key"), filepath.Join(dir+".there", "tls.key"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			one, two, three := leaf("one"), leaf("two"), leaf("three")
			m := writePair(t, dir, one)
			r := run(t, nil)
			slot := pairSlot(t, r.Store, m)
			before := slot.Load()
			if !before.Certificate.Leaf.Equal(one.Leaf) {
				t.Fatal("another certificate")
			}
			tt.change(t, dir, two)
			r.becomes(slot, two)
			if !before.Certificate.Leaf.Equal(one.Leaf) {
				t.Error("a value has changed")
			}
			writePair(t, dir, three) // what is there now is watched as well
			r.becomes(slot, three)
			eventually(t, "both are counted", func() bool { return r.counter("reload_success") >= 2 })
		})
	}
}

func TestLinksThatAreSwappedAreFollowed(t *testing.T) {
	root := t.TempDir()
	pairs := []*certs.Pair{leaf("0"), leaf("1"), leaf("2"), leaf("3")}
	mount := filepath.Join(root, "mount") // as Kubernetes does it: tls.crt → ..data/tls.crt, ..data → ..N
	version := func(i int) {
		name := fmt.Sprintf("..%d", i)
		writePair(t, filepath.Join(mount, name), pairs[i])
		swap(t, filepath.Join(mount, "..data"), name)
		if i > 0 {
			if err := os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..%d", i-1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	version(0)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(mount, filepath.Join(root, "link")); err != nil { // and the way there is a link, too
		t.Fatal(err)
	}
	r := run(t, nil)
	slot := pairSlot(t, r.Store, filed(filepath.Join(root, "link")))
	for i := 1; i < len(pairs); i++ {
		version(i)
		r.becomes(slot, pairs[i])
	}
	other := leaf("other")
	writePair(t, filepath.Join(root, "elsewhere"), other)
	swap(t, filepath.Join(root, "link"), filepath.Join(root, "elsewhere"))
	r.becomes(slot, other)
	r.stop()
	if len(r.w.dirs) > 3 || len(r.w.active) > 3 { // root and elsewhere; nothing under mount
		t.Errorf("watched: %v", r.w.active)
	}
}

func TestHalfOfAPairIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	one, two := leaf("one"), leaf("two")
	m := writePair(t, dir, one)
	m.Password = env("PASSWORD") // whose reads are counted
	r := run(t, nil)
	st := static(t, r.Store, certSecret("pair", m))
	slot := r.View(st).NamedKeyPair(ref("pair"), "r", &resource.Problems{}, Use[KeyPair]{})
	before := slot.Load()
	rename(t, m.GetCertificateChain().GetFilename(), two.PEM())
	eventually(t, "the failure is counted", func() bool { return r.counter("reload_failure") > 0 })
	seen := r.reads.Load()
	eventually(t, "it is tried again", func() bool { return r.reads.Load() > seen+3 })
	if slot.Load() != before {
		t.Error("half a pair is used")
	}
	if n, logged := r.counter("reload_failure"), r.log.count("KEY_VALUES_MISMATCH"); n != 1 || logged != 1 {
		t.Errorf("%d failures counted, %d logged, want one each", n, logged)
	}
	if n := r.stats.Scope("sds.pair.").Counter("key_rotation_failed").Value(); n != 1 {
		t.Errorf("sds.pair.key_rotation_failed is %d", n)
	}
	write(t, m.GetPrivateKey().GetFilename(), must(two.KeyPEM()))
	r.becomes(slot, two)
	if !matches(slot.Load().Certificate.PrivateKey, two.Leaf) {
		t.Error("the old key with the new certificate")
	}
}

func TestBadFilesLeaveTheLastValue(t *testing.T) {
	dir, a, b := t.TempDir(), ca(), ca()
	name := write(t, filepath.Join(dir, "ca.pem"), a.PEM())
	r := run(t, nil)
	slot := r.View().Validation(&tlsv3.CertificateValidationContext{TrustedCa: file(name)}, "v", &resource.Problems{})
	before := slot.Load()
	for i, bad := range [][]byte{nil, []byte("garbage"), a.PEM()[:100]} {
		write(t, name, bad)
		eventually(t, "the failure is counted", func() bool { return r.counter("reload_failure") > uint64(i) })
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failure is logged", func() bool { return r.log.count("no such file") > 0 })
	if slot.Load() != before {
		t.Error("the value has changed")
	}
	write(t, name, a.PEM())
	eventually(t, "that all is well is logged", func() bool { return r.log.count("has not changed") > 0 })
	if n := r.log.count("has not changed"); n != 1 || slot.Load() != before {
		t.Errorf("logged %d times, or the value has changed", n)
	}
	write(t, name, b.PEM())
	eventually(t, "the new authority", func() bool { return slot.Load().Roots[0].Equal(b.Certificate()) })
}

func TestEveryKindFollowsItsFiles(t *testing.T) {
	dir, a, b := t.TempDir(), ca(), ca()
	r := run(t, nil)
	p := &resource.Problems{}
	caFile, keys := write(t, filepath.Join(dir, "ca.pem"), a.PEM()), write(t, filepath.Join(dir, "keys"), make([]byte, 80))
	generic, list := write(t, filepath.Join(dir, "generic"), []byte("one")), write(t, filepath.Join(dir, "crl"), must(a.CRL()))
	tickets := r.View().TicketKeys(&tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{file(keys)}}, "k", p)
	st := static(t, r.Store, &tlsv3.Secret{Name: "g", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: file(generic)}}})
	any := r.View(st).NamedGeneric(ref("g"), "g", p)
	base := static(t, r.Store, trustSecret("ca", &tlsv3.CertificateValidationContext{TrustedCa: file(caFile)}))
	combined := r.View(base).CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext: &tlsv3.CertificateValidationContext{Crl: file(list)}, ValidationContextSdsSecretConfig: ref("ca"),
	}, "c", p, Use[Validation]{})
	spiffe := r.View().Validation(spiffeOf(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{
		domain("td", file(caFile)),
	}}), "s", p)
	if p.Len() > 0 {
		t.Fatal(p.All())
	}
	firstKeys := tickets.Load()
	write(t, keys, slices.Repeat([]byte{1}, 80))
	write(t, generic, []byte("two"))
	write(t, caFile, b.PEM())
	write(t, list, slices.Concat(must(b.CRL()), must(a.CRL())))
	eventually(t, "ticket keys", func() bool { return tickets.Load().Keys[0] != firstKeys.Keys[0] })
	eventually(t, "generic", func() bool { return string(any.Load().Secret) == "two" })
	eventually(t, "combined authority", func() bool { return combined.Load().Roots[0].Equal(b.Certificate()) })
	eventually(t, "combined lists", func() bool { return len(combined.Load().CRLs) == 2 })
	eventually(t, "SPIFFE", func() bool { return spiffe.Load().Roots[0].Equal(b.Certificate()) })

	other := write(t, filepath.Join(dir, "other.pem"), a.PEM()) // what is combined follows the files of the secret that is published
	next := static(t, r.Store, trustSecret("ca", &tlsv3.CertificateValidationContext{TrustedCa: file(other)}))
	next.Publish()
	if !combined.Load().Roots[0].Equal(a.Certificate()) {
		t.Error("not the published secret's authority")
	}
	write(t, other, b.PEM())
	eventually(t, "published authority", func() bool { return combined.Load().Roots[0].Equal(b.Certificate()) })
	runtime.KeepAlive(base)
}

func TestAWatchedDirectoryIsAReasonToRead(t *testing.T) {
	dir, watched := t.TempDir(), t.TempDir()
	m := writePair(t, dir, leaf("one"))
	m.Password, m.WatchedDirectory = env("PASSWORD"), &corev3.WatchedDirectory{Path: watched}
	r := run(t, nil)
	slot := pairSlot(t, r.Store, m)
	for i := range 3 {
		seen := r.reads.Load()
		name := filepath.Join(watched, fmt.Sprint(i))
		eventually(t, "a change there has the files read", func() bool { // written again until it is watched
			write(t, name, nil)
			return r.reads.Load() > seen
		})
	}
	runtime.KeepAlive(slot)
}

func TestChangesBeforeTheWatchAreNoticed(t *testing.T) {
	dir := t.TempDir()
	one, two := leaf("one"), leaf("two")
	s := NewStore(Options{Debounce: time.Millisecond, Poll: time.Hour})
	slot := pairSlot(t, s, writePair(t, dir, one))
	rename(t, filepath.Join(dir, "tls.crt"), two.PEM())
	rename(t, filepath.Join(dir, "tls.key"), must(two.KeyPEM()))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	eventually(t, "the certificate changes", func() bool { return slot.Load().Certificate.Leaf.Equal(two.Leaf) })
	cancel()
	wg.Wait()
}

func TestWhatCannotBeWatchedIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	one, two := leaf("one"), leaf("two")
	s := NewStore(Options{Retry: time.Millisecond, Poll: time.Millisecond})
	slot := pairSlot(t, s, writePair(t, dir, one))
	w := newWatcher(s)
	w.adopt()
	if w.blind() {
		t.Fatal("not watched")
	}
	clear(w.active) // as if the system had refused
	w.close()       // and it tells nothing
	if !w.blind() {
		t.Fatal("still watched")
	}
	rename(t, filepath.Join(dir, "tls.crt"), two.PEM())
	rename(t, filepath.Join(dir, "tls.key"), must(two.KeyPEM()))
	w.look()
	if !slot.Load().Certificate.Leaf.Equal(two.Leaf) {
		t.Error("the change went unnoticed")
	}
	w.again()
	if !w.blind() || !w.complained {
		t.Errorf("blind %v, complained %v", w.blind(), w.complained)
	}
}

func TestAThousandSwaps(t *testing.T) {
	root := t.TempDir()
	pairs := []*certs.Pair{leaf("0"), leaf("1"), leaf("2"), leaf("3")}
	for i, p := range pairs {
		writePair(t, filepath.Join(root, fmt.Sprint(i)), p)
	}
	swap(t, filepath.Join(root, "now"), "0")
	r := run(t, nil)
	slot := pairSlot(t, r.Store, filed(filepath.Join(root, "now")))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		for {
			k := slot.Load()
			if !matches(k.Certificate.PrivateKey, k.Certificate.Leaf) {
				t.Error("a key with the certificate of another")
				return
			}
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	for i := range 1000 {
		swap(t, filepath.Join(root, "now"), fmt.Sprint(i%len(pairs)))
	}
	swap(t, filepath.Join(root, "now"), "2")
	r.becomes(slot, pairs[2])
	close(stop)
	<-done
	r.stop()
	if len(r.w.active) > 2 || len(r.w.items) != 1 {
		t.Errorf("watched %v for %d items", r.w.active, len(r.w.items))
	}
}

func TestNothingIsKeptThatNobodyUses(t *testing.T) {
	dir, a := t.TempDir(), ca()
	kept := writePair(t, dir, leaf("kept"))
	caFile := write(t, filepath.Join(dir, "ca.pem"), a.PEM())
	r := run(t, nil)
	stay := pairSlot(t, r.Store, kept)
	for i := range 1000 {
		name := fmt.Sprint(i)
		m := filed(dir)
		m.Password = text([]byte(name)) // another content each time
		first, second := static(t, r.Store, certSecret(name, m)), static(t, r.Store, certSecret(name, kept))
		base := static(t, r.Store, trustSecret("ca "+name, &tlsv3.CertificateValidationContext{TrustedCa: file(caFile)}))
		view := r.View(first, base)
		p := &resource.Problems{}
		if view.NamedKeyPair(ref(name), "r", p, Use[KeyPair]{}) == nil || view.KeyPair(m, "c", p) == nil ||
			view.CombinedValidation(&tlsv3.CommonTlsContext_CombinedCertificateValidationContext{ValidationContextSdsSecretConfig: ref("ca " + name)}, "v", p, Use[Validation]{}) == nil {
			t.Fatal(p.All())
		}
		second.Publish()
	}
	left := func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pairs.mu.Lock()
		defer r.pairs.mu.Unlock()
		r.trusts.mu.Lock()
		defer r.trusts.mu.Unlock()
		return fmt.Sprint(len(r.items), len(r.named), len(r.combined), len(r.moved), len(r.pairs.all), len(r.trusts.all))
	}
	eventually(t, "all but one is gone", func() bool {
		runtime.GC()
		return left() == "1 0 0 0 1 0"
	})
	next := leaf("next")
	writePair(t, dir, next)
	r.becomes(stay, next) // and the one is still watched
	r.stop()
	r.w.adopt() // had it not come to that
	if len(r.w.items) != 1 || len(r.w.points) != 2 {
		t.Errorf("%d items at %v", len(r.w.items), r.w.points)
	}
}
