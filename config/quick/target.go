package quick

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// toForm is what --to wants.
const toForm = "http://host[:port], h2c://host[:port] or grpc://host[:port] (HTTP/2), tcp://host:port, with TLS https://host[:port], " +
	"grpcs://host[:port] or tls://host:port, or unix:/path (HTTP), h2c+unix:/path or tcp+unix:/path, several separated by commas"

// A target is one upstream host as the command line names it.
type target struct {
	protocol string // "http" (HTTP/1.1), "h2c" (HTTP/2) or "tcp"
	secure   bool   // in TLS
	host     string // an IP address or a name; empty for a unix socket
	port     uint32
	path     string // of a unix socket
}

// named says whether DNS has to find the target.
func (t target) named() bool {
	_, err := netip.ParseAddr(t.host)
	return t.host != "" && err != nil
}

// kind is the target's protocol for people.
func (t target) kind() string {
	if t.secure {
		return t.protocol + " with TLS"
	}
	return t.protocol
}

func (t target) address() *corev3.Address {
	if t.path != "" {
		return pipe(t.path)
	}
	return socket(t.host, t.port)
}

// parseTargets reads all of --to. The targets must speak one protocol.
func parseTargets(to []string) ([]target, error) {
	var targets []target
	for _, list := range to {
		for text := range strings.SplitSeq(list, ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			t, err := parseTarget(text)
			if err != nil {
				return nil, fmt.Errorf("--to %q: %w; want %s", text, err, toForm)
			}
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("--to is missing: say where requests go; want %s", toForm)
	}
	names, sockets := "", ""
	for i, t := range targets {
		if t.protocol != targets[0].protocol || t.secure != targets[0].secure {
			return nil, fmt.Errorf("--to: target %d is %s and target 1 is %s; all must be the same", i+1, t.kind(), targets[0].kind())
		}
		if t.named() {
			names = t.host
		}
		if t.path != "" {
			sockets = t.path
		}
	}
	if names != "" && sockets != "" {
		return nil, fmt.Errorf("--to: the name %s and the unix socket %s cannot be in one list; use IP addresses with unix sockets", names, sockets)
	}
	return targets, nil
}

func parseTarget(text string) (target, error) {
	sockets := map[string]string{"unix:": "http", "http+unix:": "http", "h2c+unix:": "h2c", "grpc+unix:": "h2c", "tcp+unix:": "tcp"}
	for prefix, protocol := range sockets {
		if path, ok := strings.CutPrefix(text, prefix); ok {
			path, err := socketPath(path)
			return target{protocol: protocol, path: path}, err
		}
	}
	schemes := map[string]target{
		"http": {protocol: "http", port: 80}, "h2c": {protocol: "h2c", port: 80}, "grpc": {protocol: "h2c", port: 80}, "tcp": {protocol: "tcp"},
		"https": {protocol: "http", port: 443, secure: true}, "grpcs": {protocol: "h2c", port: 443, secure: true},
		"tls": {protocol: "tcp", secure: true},
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || !strings.Contains(text, "://"):
		return target{}, errors.New("not a URL")
	case schemes[u.Scheme].protocol == "":
		return target{}, fmt.Errorf("unknown scheme %q", u.Scheme)
	case u.User != nil:
		return target{}, errors.New("user names and passwords are not supported")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return target{}, errors.New("only a host and a port, without path or query")
	case u.Hostname() == "":
		return target{}, errors.New("the host is missing")
	}
	t := schemes[u.Scheme]
	t.host = u.Hostname()
	if u.Port() == "" && t.port == 0 {
		return target{}, errors.New("the port is missing")
	}
	if u.Port() != "" {
		t.port, err = port(u.Port())
	}
	return t, err
}

// port reads a port from 1 to 65535.
func port(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("the port %q is not a number from 1 to 65535", text)
	}
	return uint32(n), nil
}

// maxSocketPath is what sockaddr_un holds on Linux, with its closing NUL.
const maxSocketPath = 107

// socketPath checks the path of a unix socket, or an abstract name that begins with @.
func socketPath(path string) (string, error) {
	path = strings.TrimPrefix(path, "//") // unix:///run/x
	switch {
	case path == "":
		return "", errors.New("the socket's path is missing")
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("the socket's path is longer than %d bytes", maxSocketPath)
	case path[0] != '/' && path[0] != '@':
		return "", errors.New("the socket's path must begin with /, or with @ for an abstract socket")
	}
	return path, nil
}

// parseListen reads an address to listen on. An empty host is 0.0.0.0; [::] takes IPv4 as well.
func parseListen(flag, text string) (*corev3.Address, error) {
	const form = "want :port, address:port, [address]:port or unix:/path"
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		path, err := socketPath(path)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w; %s", flag, text, err, form)
		}
		return pipe(path), nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return nil, fmt.Errorf("%s %q: the port is missing; %s", flag, text, form)
	}
	host := text[:colon]
	n, err := port(text[colon+1:])
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w; %s", flag, text, err, form)
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || bracketed != ip.Is6() {
		return nil, fmt.Errorf("%s %q: %q is not an IP address; %s", flag, text, host, form)
	}
	a := socket(inner, n)
	a.GetSocketAddress().Ipv4Compat = ip.Is6() && ip.IsUnspecified()
	return a, nil
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}
