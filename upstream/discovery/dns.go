package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Options say whom to ask and how. The zero value asks whom /etc/resolv.conf names.
type Options struct {
	Servers    []string // host:port; none: those of resolv.conf
	TCP        bool     // use_tcp_for_dns_lookups
	NoSearch   bool     // no_default_search_domain
	Attempts   int      // for each server; 0: as resolv.conf says
	Timeout    time.Duration
	ResolvConf string // "" is /etc/resolv.conf
	HostsFile  string // "" is /etc/hosts
}

// DNS is a Resolver that asks name servers, and /etc/hosts before them.
type DNS struct {
	o     Options
	slots chan struct{} // holds one for each question under way

	mu       sync.Mutex
	settings *settings // guarded by mu
}

// mostQuestions is how many questions a resolver puts at the same time; each has a socket.
const mostQuestions = 64

// NewDNS returns a resolver. It does no I/O before the first lookup.
func NewDNS(o Options) *DNS {
	if o.ResolvConf == "" {
		o.ResolvConf = resolvConf
	}
	if o.HostsFile == "" {
		o.HostsFile = hostsFile
	}
	return &DNS{o: o, slots: make(chan struct{}, mostQuestions)}
}

func (d *DNS) current() *settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settings == nil || time.Since(d.settings.read) > reread {
		d.settings = readSettings(&d.o)
	}
	return d.settings
}

// Lookup implements Resolver. It blocks for at most the servers' timeouts, or until ctx ends.
func (d *DNS) Lookup(ctx context.Context, name string, family Family) ([]Answer, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []Answer{{Addr: addr.Unmap()}}, nil
	}
	switch family {
	case V4Only:
		return d.lookup(ctx, name, dns.TypeA)
	case V6Only:
		return d.lookup(ctx, name, dns.TypeAAAA)
	case V4Preferred:
		return d.first(ctx, name, dns.TypeA, dns.TypeAAAA)
	case All:
		return d.both(ctx, name)
	default:
		return d.first(ctx, name, dns.TypeAAAA, dns.TypeA)
	}
}

// first returns the addresses of the first type that has any.
func (d *DNS) first(ctx context.Context, name string, types ...uint16) ([]Answer, error) {
	var failed error
	for _, t := range types {
		answers, err := d.lookup(ctx, name, t)
		if err != nil {
			failed = err
		}
		if len(answers) > 0 {
			return answers, nil
		}
	}
	return nil, failed
}

func (d *DNS) both(ctx context.Context, name string) ([]Answer, error) {
	v4, err4 := d.lookup(ctx, name, dns.TypeA)
	v6, err6 := d.lookup(ctx, name, dns.TypeAAAA)
	if all := append(v4, v6...); len(all) > 0 {
		return all, nil
	}
	return nil, errors.Join(err4, err6)
}

// lookup returns the addresses of one type.
func (d *DNS) lookup(ctx context.Context, name string, qtype uint16) ([]Answer, error) {
	s := d.current()
	names := s.candidates(name)
	for _, n := range append([]string{dns.Fqdn(name)}, names...) {
		if answers := s.fromHosts(n, qtype); len(answers) > 0 {
			return answers, nil
		}
	}
	var failed error
	for _, n := range names {
		answers, err := d.ask(ctx, s, n, qtype)
		if len(answers) > 0 {
			return answers, nil
		}
		if err != nil && failed == nil {
			failed = err
		}
	}
	return nil, failed
}

func (s *settings) fromHosts(name string, qtype uint16) []Answer {
	var answers []Answer
	for _, a := range s.hosts[strings.ToLower(name)] {
		if a.Is4() == (qtype == dns.TypeA) {
			answers = append(answers, Answer{Addr: a})
		}
	}
	return answers
}

// ask puts one question to the servers until one answers it.
func (d *DNS) ask(ctx context.Context, s *settings, name string, qtype uint16) ([]Answer, error) {
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, fmt.Errorf("resolve %q: not a domain name", name)
	}
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(1232, false)
	var failed error
	for range s.attempts {
		for _, server := range s.servers {
			answers, err := d.exchange(ctx, s, q, server)
			if err == nil {
				return answers, nil
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("resolve %s: %w", name, context.Cause(ctx))
			}
			failed = fmt.Errorf("resolve %s: server %s: %w", name, server, err)
		}
	}
	return nil, failed
}

// exchange asks one server once, over TCP where the answer does not fit into a datagram.
func (d *DNS) exchange(ctx context.Context, s *settings, q *dns.Msg, server string) ([]Answer, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	network := "udp"
	if d.o.TCP {
		network = "tcp"
	}
	c := dns.Client{Net: network, Timeout: s.timeout, UDPSize: 1232}
	r, _, err := c.ExchangeContext(ctx, q.Copy(), server)
	if err == nil && r.Truncated && network == "udp" {
		c.Net = "tcp"
		r, _, err = c.ExchangeContext(ctx, q.Copy(), server)
	}
	if err != nil {
		return nil, err
	}
	if r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[r.Rcode])
	}
	return addresses(r, q.Question[0].Qtype), nil
}

// addresses returns the addresses in a response. The time to live is the shortest of the chain that leads to them.
func addresses(r *dns.Msg, qtype uint16) []Answer {
	var answers []Answer
	ttl := uint32(1<<32 - 1)
	for _, rr := range r.Answer {
		ttl = min(ttl, rr.Header().Ttl)
		var addr netip.Addr
		ok := false
		switch rr := rr.(type) {
		case *dns.A:
			addr, ok = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, ok = netip.AddrFromSlice(rr.AAAA)
		}
		if ok && rr.Header().Rrtype == qtype {
			answers = append(answers, Answer{Addr: addr.Unmap()})
		}
	}
	for i := range answers {
		answers[i].TTL = time.Duration(ttl) * time.Second
	}
	return answers
}
