package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a name server on loopback.
type zone struct {
	addr    string
	mu      sync.Mutex
	records []string
	rcode   int  // for every question, when not zero
	tcpOnly bool // datagrams are truncated
	asked   []string
}

// sockets returns a UDP and a TCP socket with the same port.
func sockets(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 { // the port that is free for one may be taken for the other
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if ln, err := net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			return pc, ln
		}
		_ = pc.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func serve(t *testing.T, z *zone) {
	t.Helper()
	pc, ln := sockets(t)
	z.addr = pc.LocalAddr().String()
	udp := &dns.Server{PacketConn: pc, Handler: z}
	tcp := &dns.Server{Listener: ln, Handler: z}
	var running sync.WaitGroup
	up := make(chan struct{}, 2)
	for _, s := range []*dns.Server{udp, tcp} {
		s.NotifyStartedFunc = func() { up <- struct{}{} }
		running.Go(func() { _ = s.ActivateAndServe() })
	}
	<-up
	<-up
	t.Cleanup(func() {
		_ = udp.Shutdown()
		_ = tcp.Shutdown()
		running.Wait()
	})
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	network := w.LocalAddr().Network()
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	z.asked = append(z.asked, fmt.Sprintf("%s %s %s", network, name, dns.TypeToString[qtype]))
	r := new(dns.Msg)
	r.SetReply(q)
	r.Rcode = z.rcode
	if z.tcpOnly && network == "udp" {
		r.Truncated = true
		_ = w.WriteMsg(r)
		return
	}
	known := false
	for _, text := range z.records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if !strings.EqualFold(rr.Header().Name, name) {
			continue
		}
		known = true
		switch rr := rr.(type) {
		case *dns.CNAME:
			r.Answer = append(r.Answer, rr)
			name = rr.Target
		default:
			if rr.Header().Rrtype == qtype {
				r.Answer = append(r.Answer, rr)
			}
		}
	}
	if !known && z.rcode == 0 {
		r.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(r)
}

func (z *zone) questions() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := strings.Join(z.asked, ", ")
	z.asked = nil
	return s
}

// files writes resolv.conf and hosts.
func files(t *testing.T, resolv, hosts string) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{ResolvConf: filepath.Join(dir, "resolv.conf"), HostsFile: filepath.Join(dir, "hosts")}
	for path, text := range map[string]string{o.ResolvConf: resolv, o.HostsFile: hosts} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func text(answers []Answer) string {
	var all []string
	for _, a := range answers {
		all = append(all, fmt.Sprintf("%s/%d", a.Addr, int(a.TTL.Seconds())))
	}
	return strings.Join(all, " ")
}

func TestLookup(t *testing.T) {
	z := &zone{records: []string{
		"both.test. 60 IN A 10.0.0.1", "both.test. 60 IN A 10.0.0.2", "both.test. 60 IN AAAA fd00::1",
		"six.test. 60 IN AAAA fd00::6",
		"alias.test. 5 IN CNAME four.test.", "four.test. 60 IN A 10.0.0.4", "four.test. 60 IN A 10.0.0.5",
		"short.corp.test. 60 IN A 10.0.0.7",
	}}
	serve(t, z)
	o := files(t, "search corp.test\noptions ndots:2 timeout:1 attempts:1\n", "127.0.0.9 here.test me # comment\n::9 here.test\nrubbish\n")
	o.Servers = []string{z.addr}
	d := NewDNS(o)
	for _, c := range []struct {
		name   string
		family Family
		want   string
	}{
		{"both.test.", Auto, "fd00::1/60"},
		{"four.test.", Auto, "10.0.0.4/60 10.0.0.5/60"},
		{"both.test.", V4Only, "10.0.0.1/60 10.0.0.2/60"},
		{"four.test.", V6Only, ""},
		{"both.test.", V4Preferred, "10.0.0.1/60 10.0.0.2/60"},
		{"six.test.", V4Preferred, "fd00::6/60"},
		{"both.test.", All, "10.0.0.1/60 10.0.0.2/60 fd00::1/60"},
		{"alias.test.", V4Only, "10.0.0.4/5 10.0.0.5/5"},
		{"short", V4Only, "10.0.0.7/60"},
		{"nothing.test.", All, ""},
		{"here.test", V4Only, "127.0.0.9/0"},
		{"HERE.test", V6Only, "::9/0"},
		{"me", V4Only, "127.0.0.9/0"},
		{"10.9.8.7", V6Only, "10.9.8.7/0"},
	} {
		got, err := d.Lookup(t.Context(), c.name, c.family)
		if err != nil || text(got) != c.want {
			t.Errorf("%s, family %d: got %q, %v, want %q", c.name, c.family, text(got), err, c.want)
		}
	}
}

func TestLookupSearchesAsResolvConfSays(t *testing.T) {
	z := &zone{}
	serve(t, z)
	o := files(t, "search a.test b.test\noptions ndots:2 attempts:1\n", "")
	o.Servers = []string{z.addr}
	for _, c := range []struct{ name, want string }{
		{"x", "udp x.a.test. A, udp x.b.test. A, udp x. A"},
		{"x.y.z", "udp x.y.z. A, udp x.y.z.a.test. A, udp x.y.z.b.test. A"},
		{"x.", "udp x. A"},
	} {
		if _, err := NewDNS(o).Lookup(t.Context(), c.name, V4Only); err != nil {
			t.Error(err)
		}
		if got := z.questions(); got != c.want {
			t.Errorf("%s: asked %s, want %s", c.name, got, c.want)
		}
	}
	o.NoSearch = true
	_, _ = NewDNS(o).Lookup(t.Context(), "x", V4Only)
	if got := z.questions(); got != "udp x. A" {
		t.Errorf("without search: asked %s", got)
	}
}

func TestTruncatedAnswersAreAskedForOverTCP(t *testing.T) {
	z := &zone{records: []string{"big.test. 60 IN A 10.0.0.1"}, tcpOnly: true}
	serve(t, z)
	o := files(t, "options attempts:1\n", "")
	o.Servers = []string{z.addr}
	got, err := NewDNS(o).Lookup(t.Context(), "big.test.", V4Only)
	if err != nil || text(got) != "10.0.0.1/60" {
		t.Errorf("got %s, %v", text(got), err)
	}
	if got := z.questions(); got != "udp big.test. A, tcp big.test. A" {
		t.Errorf("asked %s", got)
	}
	o.TCP = true
	_, _ = NewDNS(o).Lookup(t.Context(), "big.test.", V4Only)
	if got := z.questions(); got != "tcp big.test. A" {
		t.Errorf("asked %s", got)
	}
}

func TestFailuresNameServerAndQuestion(t *testing.T) {
	bad, good := &zone{rcode: dns.RcodeServerFailure}, &zone{records: []string{"a.test. 60 IN A 10.0.0.1"}}
	serve(t, bad)
	serve(t, good)
	o := files(t, "options attempts:2\n", "")
	o.Servers = []string{bad.addr}
	_, err := NewDNS(o).Lookup(t.Context(), "a.test.", V4Only)
	if err == nil || !strings.Contains(err.Error(), "a.test.") || !strings.Contains(err.Error(), bad.addr) || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("got %v", err)
	}
	if got := bad.questions(); got != "udp a.test. A, udp a.test. A" {
		t.Errorf("asked %s", got)
	}
	o.Servers = []string{bad.addr, good.addr}
	if got, err := NewDNS(o).Lookup(t.Context(), "a.test.", V4Only); err != nil || text(got) != "10.0.0.1/60" {
		t.Errorf("with a second server: %s, %v", text(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewDNS(o).Lookup(ctx, "a.test.", V4Only); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewDNS(o).Lookup(t.Context(), strings.Repeat("a", 70)+".test.", V4Only); err == nil {
		t.Error("a label of 70 bytes is no error")
	}
}

type script struct {
	answers []Answer
	err     error
	times   []time.Time
}

func (s *script) Lookup(context.Context, string, Family) ([]Answer, error) {
	s.times = append(s.times, time.Now())
	return s.answers, s.err
}

func TestRefresherKeepsItsRate(t *testing.T) {
	one := []Answer{{netip.MustParseAddr("10.0.0.1"), 20 * time.Second}, {netip.MustParseAddr("10.0.0.2"), 7 * time.Second}}
	for _, c := range []struct {
		name      string
		r         Refresher
		s         script
		low, high time.Duration // between lookups
	}{
		{"rate", Refresher{Every: 5 * time.Second}, script{answers: one}, 5 * time.Second, 5 * time.Second},
		{"jitter", Refresher{Every: 5 * time.Second, Jitter: time.Second}, script{answers: one}, 5 * time.Second, 6 * time.Second},
		{"the shortest time to live", Refresher{Every: time.Second, RespectTTL: true}, script{answers: one}, 7 * time.Second, 7 * time.Second},
		{"no answer, no time to live", Refresher{Every: 3 * time.Second, RespectTTL: true}, script{}, 3 * time.Second, 3 * time.Second},
		{"failures at the usual rate", Refresher{Every: 5 * time.Second}, script{err: errors.New("x")}, 5 * time.Second, 5 * time.Second},
		{"failures at theirs", Refresher{Every: time.Minute, FailureBase: time.Second, FailureMax: 4 * time.Second}, script{err: errors.New("x")},
			time.Millisecond, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+time.Millisecond/2)
				defer cancel()
				s := c.s
				r := c.r
				r.Resolver = &s
				reports := 0
				r.Run(ctx, func([]Answer, error) { reports++ })
				if len(s.times) < 5 || reports != len(s.times) {
					t.Fatalf("%d lookups, %d reports", len(s.times), reports)
				}
				for i := 1; i < len(s.times); i++ {
					if d := s.times[i].Sub(s.times[i-1]); d < c.low || d > c.high {
						t.Errorf("lookup %d after %v, want %v to %v", i, d, c.low, c.high)
					}
				}
			})
		})
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n")
	f.Add("::1\tip6-localhost ip6-loopback # x\n#y\n\n10.0.0.1")
	f.Fuzz(func(t *testing.T, s string) {
		for name, addrs := range parseHosts(strings.NewReader(s)) {
			if name != strings.ToLower(name) || len(addrs) == 0 {
				t.Errorf("%q: %v", name, addrs)
			}
		}
	})
}
