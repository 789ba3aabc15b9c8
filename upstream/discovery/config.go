package discovery

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Files a resolver takes its settings from where it is not told better.
const (
	resolvConf = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
)

// reread is how old what was read from those files may be.
const reread = 5 * time.Second

// settings are what the system's files say.
type settings struct {
	servers  []string // host:port
	search   []string
	ndots    int
	attempts int
	timeout  time.Duration
	hosts    map[string][]netip.Addr // by lower-case name with the final dot
	read     time.Time
}

// readSettings reads the files. One that cannot be read leaves the defaults of resolv.conf(5).
func readSettings(o *Options) *settings {
	s := &settings{ndots: 1, attempts: 2, timeout: 5 * time.Second, hosts: map[string][]netip.Addr{}, read: time.Now()}
	if c, err := dns.ClientConfigFromFile(o.ResolvConf); err == nil {
		for _, host := range c.Servers {
			s.servers = append(s.servers, joinPort(host, c.Port))
		}
		s.search, s.ndots, s.attempts = c.Search, c.Ndots, max(c.Attempts, 1)
		s.timeout = time.Duration(max(c.Timeout, 1)) * time.Second
	}
	if f, err := os.Open(o.HostsFile); err == nil {
		s.hosts = parseHosts(f)
		_ = f.Close() // it was only read
	}
	if len(s.servers) == 0 {
		s.servers = []string{"127.0.0.1:53", "[::1]:53"}
	}
	if len(o.Servers) > 0 {
		s.servers = o.Servers
	}
	if o.NoSearch {
		s.search = nil
	}
	if o.Attempts > 0 {
		s.attempts = o.Attempts
	}
	if o.Timeout > 0 {
		s.timeout = o.Timeout
	}
	return s
}

func joinPort(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

// parseHosts reads hosts(5). Lines it does not understand are left out, as the system's resolver does.
func parseHosts(r io.Reader) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	in := bufio.NewScanner(r)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			key := strings.ToLower(dns.Fqdn(name))
			hosts[key] = append(hosts[key], addr.Unmap())
		}
	}
	return hosts
}

// candidates returns the full names to try for a name, in order.
func (s *settings) candidates(name string) []string {
	if dns.IsFqdn(name) {
		return []string{name}
	}
	own := dns.Fqdn(name)
	var names []string
	if strings.Count(name, ".") >= s.ndots {
		names = append(names, own)
	}
	for _, suffix := range s.search {
		names = append(names, dns.Fqdn(name+"."+strings.TrimPrefix(suffix, ".")))
	}
	if len(names) == 0 || names[0] != own {
		names = append(names, own)
	}
	return names
}
