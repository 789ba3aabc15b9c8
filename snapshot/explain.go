package snapshot

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/dispatch"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/listener"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream"
)

// A Question is a request that nobody sends.
type Question struct {
	Method, URL string
	Headers     [][2]string
	Listener    string // name; "": the one that the URL's port belongs to, else the first that speaks HTTP
	Remote      string // the client's address, ip or ip:port; "": 127.0.0.1
	// SNI and ALPN are what a client of an https URL says in its ClientHello; "": the URL's host, none: h2 and http/1.1.
	SNI  string
	ALPN []string
	// Resource turns a resource path into what people look up, file:line:column; nil leaves it as it is.
	Resource func(path string) string
}

// An Answer says which way the request would take and why: a list of steps, each with the place in the configuration that says so.
type Answer struct {
	Steps   []Step `json:"steps"`
	Cluster string `json:"cluster,omitempty"`
	Status  int    `json:"status,omitempty"` // of an answer that Weft would give itself
}

// A Step is one decision.
type Step struct {
	What  string   `json:"what"` // "listener", "client hello", "filter chain", "tls", "virtual host", "route", "cluster", "hosts"
	Name  string   `json:"name"`
	Why   string   `json:"why,omitempty"`
	Place string   `json:"place,omitempty"`
	Tried []string `json:"tried,omitempty"`
}

// Explain answers a question.
func (s *Snapshot) Explain(q Question) Answer {
	e := explainer{s: s, q: q}
	e.run()
	return e.answer
}

type explainer struct {
	s      *Snapshot
	q      Question
	secure bool   // the client begins with TLS
	host   string // of the URL
	req    message.Request
	info   conn.Info
	answer Answer
}

func (e *explainer) step(what, name, why, place string) *Step {
	if place != "" && e.q.Resource != nil {
		place = e.q.Resource(place)
	}
	e.answer.Steps = append(e.answer.Steps, Step{What: what, Name: name, Why: why, Place: place})
	return &e.answer.Steps[len(e.answer.Steps)-1]
}

func (e *explainer) run() {
	port, err := e.request()
	if err != nil {
		e.step("request", e.q.URL, err.Error(), "")
		return
	}
	l, why := e.listener(port)
	if l == nil {
		e.step("listener", e.q.Listener, why, "")
		return
	}
	at := e.s.place(resource.Key{Type: resource.Listener, Name: l.Name})
	e.step("listener", l.Name, why, at)
	e.hello(l)
	m, ok := l.Match(&e.info)
	if !ok {
		e.step("filter chain", "none", "no filter chain matches: the connection is closed", at)
		return
	}
	e.step("filter chain", or(m.Name, "(unnamed)"), "matches the connection", chainPlace(at, m.Index))
	if e.handshake(m) {
		e.forward(m.Built)
	}
}

// chainPlace is where a listener's filter chain is configured.
func chainPlace(listener string, index int) string {
	if index < 0 {
		return string(resource.Path(listener).Field("default_filter_chain"))
	}
	return string(resource.Path(listener).Field("filter_chains").Index(index))
}

// hello has the listener read the beginning of a TLS connection.
func (e *explainer) hello(l *listener.Config) {
	switch {
	case !e.secure && e.q.SNI+strings.Join(e.q.ALPN, "") != "":
		e.step("client hello", "none", "a server name and protocols are said in TLS: ask for an https:// URL", "")
	case e.secure && l.ReadsClientHello():
		e.info.TransportProtocol, e.info.ServerName, e.info.ALPN = "tls", e.sni(), e.q.ALPN
		if len(e.info.ALPN) == 0 {
			e.info.ALPN = []string{"h2", "http/1.1"}
		}
		e.step("client hello", or(e.info.ServerName, "no server name"), "it offers "+strings.Join(e.info.ALPN, ", "), "")
	}
}

// sni is the server name that a client asks for: never an address.
func (e *explainer) sni() string {
	name := or(e.q.SNI, e.host)
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// handshake says what becomes of TLS, and whether the connection gets any further.
func (e *explainer) handshake(m listener.Match) bool {
	_, http := m.Built.Explain.(*dispatch.Explainer)
	switch {
	case m.TLS && !e.secure:
		e.step("tls", "missing", "the filter chain ends TLS, which an "+e.req.Scheme+":// URL is without: the connection is closed. Ask for https://", "")
		return false
	case m.TLS:
		e.info.TLS = &conn.TLS{Version: "TLSv1.3", SNI: e.sni()}
		e.step("tls", "ended here", "the handshake is taken to succeed, and the client to have no certificate", "")
	case e.secure && http:
		e.step("tls", "not ended here", "the filter chain has no TLS: somebody in front of it has to have ended it", "")
	case e.secure:
		e.step("tls", "passed through", "the filter chain has no TLS of its own", "")
	}
	return true
}

// request builds the request, and the connection it would come on.
func (e *explainer) request() (port string, err error) {
	text := e.q.URL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("want a URL like http://host:port/path")
	}
	e.host = u.Hostname()
	switch u.Scheme {
	case "https", "wss", "grpcs", "tls":
		e.secure = true
	}
	e.req = message.Request{Method: or(e.q.Method, "GET"), Scheme: u.Scheme, Authority: u.Host, Path: or(u.RequestURI(), "/"), Body: message.NoBody}
	for _, h := range e.q.Headers {
		if strings.EqualFold(h[0], "host") || h[0] == ":authority" {
			e.req.Authority = h[1]
			continue
		}
		e.req.Header.Add(h[0], h[1])
	}
	e.info = conn.Info{Network: "tcp", TransportProtocol: "raw_buffer"}
	remote := or(e.q.Remote, "127.0.0.1")
	if a, err := netip.ParseAddr(remote); err == nil {
		e.info.Remote = netip.AddrPortFrom(a, 0)
	} else if e.info.Remote, err = netip.ParseAddrPort(remote); err != nil {
		return "", fmt.Errorf("the client's address %q is not ip or ip:port", remote)
	}
	e.info.DirectRemote = e.info.Remote
	return u.Port(), nil
}

// listener chooses where the request arrives.
func (e *explainer) listener(port string) (*listener.Config, string) {
	if e.q.Listener != "" {
		l := e.s.Listeners[e.q.Listener]
		if l == nil {
			return nil, "there is no listener of that name"
		}
		e.arrive(l)
		return l, "it was asked for"
	}
	var first *listener.Config
	for _, l := range e.s.inOrder() {
		if p := portOf(l); p != "" && p == port {
			e.arrive(l)
			return l, "it listens on port " + p
		}
		if first == nil && speaksHTTP(l) {
			first = l
		}
	}
	if first == nil {
		return nil, "no listener speaks HTTP"
	}
	e.arrive(first)
	if port == "" {
		return first, "it is the first that speaks HTTP"
	}
	return first, "it is the first that speaks HTTP; none listens on port " + port
}

// arrive gives the connection the listener's address.
func (e *explainer) arrive(l *listener.Config) {
	e.info.Listener = l.Name
	if at, err := netip.ParseAddrPort(l.Address()); err == nil {
		e.info.Local, e.info.DirectLocal = at, at
	}
}

// portOf returns the port that a listener has for sure; "" for one that the system chooses.
func portOf(l *listener.Config) string {
	if at, err := netip.ParseAddrPort(l.Address()); err == nil && at.Port() != 0 {
		return strconv.Itoa(int(at.Port()))
	}
	return ""
}

func speaksHTTP(l *listener.Config) bool {
	for _, b := range l.Built() {
		if _, ok := b.Explain.(*dispatch.Explainer); ok {
			return true
		}
	}
	return false
}

// forward says what the filter chain's terminal filter does.
func (e *explainer) forward(built extension.Built) {
	h, ok := built.Explain.(*dispatch.Explainer)
	if !ok {
		for at, name := range built.Clusters {
			e.step("tcp proxy", name, "forwards bytes, whatever they are", string(at))
			e.hosts(name)
		}
		return
	}
	x := h.Explain(&e.req, &e.info, 0)
	if x.Refused != "" {
		e.answer.Status = x.Status
		e.step("request", e.req.Method+" "+x.Path, fmt.Sprintf("answered with %d before routing: %s", x.Status, x.Refused), "")
		return
	}
	if x.HostPlace == "" {
		e.answer.Status = 404
		e.step("virtual host", "none", fmt.Sprintf("%s (%s): 404", x.Reason, x.Authority), x.TablePlace)
		return
	}
	e.step("virtual host", x.Host, fmt.Sprintf("%s domain %q matches %q", x.Kind, x.Domain, x.Authority), x.HostPlace)
	name := or(x.Route.Name, "(unnamed)")
	if x.Place == "" {
		name, e.answer.Status = "none", 404
	}
	step := e.step("route", name, x.Reason, x.Place)
	for _, t := range x.Tried {
		if t.Failed != "" {
			step.Tried = append(step.Tried, fmt.Sprintf("%s %s: %s (%s)", or(t.Name, "(unnamed)"), t.Path, t.Failed, e.place(t.Place)))
		}
	}
	if x.Omitted > 0 {
		step.Tried = append(step.Tried, fmt.Sprintf("… and %d more", x.Omitted))
	}
	switch r := x.Route; {
	case r.Direct != nil:
		e.answer.Status = r.Direct.Status
		e.step("answer", strconv.Itoa(r.Direct.Status), "direct_response", x.Place)
	case r.Redirect != nil:
		e.answer.Status = r.Redirect.Status
		e.step("answer", strconv.Itoa(r.Redirect.Status), "redirect to "+string(r.AppendLocation(nil, &e.req)), x.Place)
	case r.Target != nil:
		e.target(x)
	}
}

func (e *explainer) target(x dispatch.Explanation) {
	why := "the route names it"
	switch t := x.Route.Target; {
	case len(t.Weighted) > 0:
		why = fmt.Sprintf("one of %d weighted clusters; each request draws anew", len(t.Weighted))
	case t.ClusterHeader != "":
		why = fmt.Sprintf("header %q names it", t.ClusterHeader)
	}
	if path, changed := x.Route.NewPath(&e.req); changed {
		why += "; the path becomes " + path
	}
	e.step("cluster", or(x.Cluster, "none"), why, or(x.Target, x.Place))
	e.hosts(x.Cluster)
}

// hosts lists where the cluster's requests go.
func (e *explainer) hosts(name string) {
	e.answer.Cluster = name
	c := e.s.Clusters.Find(name)
	if c == nil {
		e.answer.Status = 503
		e.step("hosts", "none", "there is no such cluster: 503", "")
		return
	}
	set := c.Hosts()
	step := e.step("hosts", fmt.Sprintf("%d of %d healthy", set.Healthy(), set.Len()), "",
		e.s.place(resource.Key{Type: resource.Cluster, Name: name}))
	const most = 20
	for i, h := range set.All() {
		if i == most {
			step.Tried = append(step.Tried, fmt.Sprintf("… and %d more", set.Len()-most))
			break
		}
		step.Tried = append(step.Tried, hostLine(h))
	}
}

func hostLine(h *upstream.Host) string {
	address := h.Address()
	if host, port, err := net.SplitHostPort(address); err == nil && h.Hostname() != "" && h.Hostname() != host {
		address = h.Hostname() + ":" + port + " at " + address
	}
	return address
}

func (e *explainer) place(path string) string {
	if path != "" && e.q.Resource != nil {
		return e.q.Resource(path)
	}
	return path
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// WriteText writes the answer for people.
func (a Answer) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, s := range a.Steps {
		fmt.Fprintf(&b, "%-13s %s", s.What, s.Name)
		if s.Why != "" {
			fmt.Fprintf(&b, ": %s", s.Why)
		}
		if s.Place != "" {
			fmt.Fprintf(&b, "  [%s]", s.Place)
		}
		b.WriteByte('\n')
		for _, t := range s.Tried {
			fmt.Fprintf(&b, "%-13s   - %s\n", "", t)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
