package admin

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

func (s *Server) serverState() adminv3.ServerInfo_State {
	if s.state.Ready == nil {
		return adminv3.ServerInfo_LIVE
	}
	return s.state.Ready()
}

func (s *Server) ready(c *call) {
	state, status := s.serverState(), http.StatusOK
	if state != adminv3.ServerInfo_LIVE {
		status = http.StatusServiceUnavailable
	}
	c.text(status, state.String()+"\n")
}

func (s *Server) serverInfo(c *call) {
	i := &s.state.Info
	uptime := since(i.Started)
	all := uptime
	if !i.FirstStarted.IsZero() {
		all = since(i.FirstStarted)
	}
	options, node := i.Options, i.Node
	if options == nil {
		options = &adminv3.CommandLineOptions{}
	}
	if node == nil {
		node = &corev3.Node{}
	}
	c.proto(&adminv3.ServerInfo{
		Version: i.Version, HotRestartVersion: i.HotRestartVersion, State: s.serverState(),
		UptimeCurrentEpoch: durationpb.New(uptime), UptimeAllEpochs: durationpb.New(all),
		CommandLineOptions: options, Node: node,
	}, true)
}

// since is the time since t in whole seconds.
func since(t time.Time) time.Duration { return time.Since(t).Truncate(time.Second) }

func (s *Server) hotRestartVersion(c *call) { c.text(http.StatusOK, s.state.Info.HotRestartVersion) }

func (s *Server) certs(c *call) {
	certs := &adminv3.Certificates{}
	if s.state.Certs != nil {
		certs = s.state.Certs()
	}
	c.proto(certs, true)
}

func (s *Server) listeners(c *call) {
	var all []Listener
	if s.state.Listeners != nil {
		all = s.state.Listeners()
	}
	if c.get("format") != "json" {
		var b strings.Builder
		for i := range all {
			for _, a := range all[i].Addresses {
				b.WriteString(clean(all[i].Name) + "::" + clean(a) + "\n")
			}
		}
		c.text(http.StatusOK, b.String())
		return
	}
	var out adminv3.Listeners
	for i := range all {
		status := &adminv3.ListenerStatus{Name: all[i].Name}
		for j, a := range all[i].Addresses {
			if j == 0 {
				status.LocalAddress = address(a)
			} else {
				status.AdditionalLocalAddresses = append(status.AdditionalLocalAddresses, address(a))
			}
		}
		out.ListenerStatuses = append(out.ListenerStatuses, status)
	}
	c.proto(&out, false)
}

// address is ip:port, or the path of a unix socket, as a message.
func address(s string) *corev3.Address {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: s}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ap.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}

// addrPort parses an address as net/http gives it, with an IPv4-mapped address unmapped.
func addrPort(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), err
}

// initDump shows what initialization waits for. The only component with targets is the listener, so any other mask shows
// nothing.
func (s *Server) initDump(c *call) {
	var out adminv3.UnreadyTargetsDumps
	if mask := c.get("mask"); s.state.Unready != nil && (mask == "" || mask == "listener") {
		for _, u := range s.state.Unready() {
			out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps,
				&adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: u.Name, TargetNames: u.Targets})
		}
	}
	c.proto(&out, false)
}
