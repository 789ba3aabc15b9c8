//go:build linux

package main

import (
	"errors"
	"net"
	"strconv"
)

// Proxies and origin listen below the kernel's range for outgoing connections
// (net.ipv4.ip_local_port_range), so that no client takes a port before its server does.
const firstPort, endPort = 20000, 32000

// ports hands out ports on 127.0.0.1. The zero value is ready.
type ports struct{ used int }

// free returns n addresses nobody listens on; none twice before all had their turn.
func (p *ports) free(n int) ([]string, error) {
	var addrs []string
	for range endPort - firstPort {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+p.used%(endPort-firstPort)))
		p.used++
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			continue
		}
		l.Close()
		if addrs = append(addrs, addr); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}
