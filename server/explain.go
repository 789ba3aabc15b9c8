package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/snapshot"
)

// A Question is a request of which Explain says where it would go.
type Question struct {
	Admin    string // ask the process with this admin page instead of reading a configuration
	Method   string
	URL      string // as the user gave it
	Headers  [][2]string
	Listener string   // "": the one the URL leads to
	Remote   string   // the client's address; "": 127.0.0.1
	SNI      string   // the server name that the client of an https URL asks for; "": the URL's host
	ALPN     []string // the protocols that it offers; none: h2 and http/1.1
}

// Explain writes to standard output where a request would go, and why. Nothing is sent but, with Question.Admin, the question.
func Explain(ctx context.Context, o Options, q Question) error {
	if q.Admin != "" {
		if o.ConfigPath != "" || o.ConfigYAML != "" {
			return fmt.Errorf("give either a configuration or --admin")
		}
		return ask(ctx, o.Stdout, q)
	}
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	return o.compileOnly(resource.Error, func(g *generation) error {
		text, _, err := explain(g.snap, g.place, q)
		if err != nil {
			return err
		}
		_, err = io.WriteString(o.Stdout, text)
		return err
	})
}

// explain answers a question about a snapshot. place turns paths into what people look up.
func explain(s *snapshot.Snapshot, place func(path string) string, q Question) (text string, detail any, err error) {
	answer := s.Explain(snapshot.Question{
		Method: either(q.Method, http.MethodGet), URL: q.URL, Headers: q.Headers, Listener: q.Listener, Remote: q.Remote,
		SNI: q.SNI, ALPN: q.ALPN, Resource: place,
	})
	var b strings.Builder
	if err := answer.WriteText(&b); err != nil {
		return "", nil, err
	}
	return b.String(), answer, nil
}

// maxAnswer bounds what is read of another process's answer.
const maxAnswer = 16 << 20

// ask puts the question to the admin page of a running process.
func ask(ctx context.Context, out io.Writer, q Question) error {
	form := url.Values{"method": {either(q.Method, http.MethodGet)}, "url": {q.URL}}
	for _, h := range q.Headers {
		form.Add("header", h[0]+":"+h[1])
	}
	for name, value := range map[string]string{"listener": q.Listener, "remote": q.Remote, "sni": q.SNI, "alpn": strings.Join(q.ALPN, ",")} {
		if value != "" {
			form.Set(name, value)
		}
	}
	host := strings.TrimPrefix(strings.TrimSuffix(q.Admin, "/"), "http://")
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	// "+" is a plus sign to the admin page, as it is to Envoy's
	target := "http://" + host + "/explain?" + strings.ReplaceAll(form.Encode(), "+", "%20")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("--admin %q: want host:port", q.Admin)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the admin page at %s: %w", host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the admin page at %s: %w", host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the admin page at %s answers %s: %s", host, resp.Status, strings.TrimSpace(string(body)))
	}
	_, err = out.Write(body)
	return err
}
