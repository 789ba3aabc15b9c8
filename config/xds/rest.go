package xds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/resource"
)

// defaultRequestTimeout is Envoy's for REST.
const defaultRequestTimeout = time.Second

// checkREST reports what is wrong with a source that is polled.
func (c *Client) checkREST(a *corev3.ApiConfigSource, at resource.Path, p *resource.Problems) {
	switch names := a.GetClusterNames(); {
	case len(names) != 1:
		p.Errorf(at.Field("cluster_names"), "", "REST needs the name of exactly one cluster")
	case c.o.ClusterKnown != nil && !c.o.ClusterKnown(names[0]):
		p.Errorf(at.Field("cluster_names").Index(0), "a source is reached through a cluster of static_resources",
			"there is no static cluster %q", names[0])
	}
	if a.GetRefreshDelay().AsDuration() <= 0 {
		p.Errorf(at.Field("refresh_delay"), "5s", "REST needs to know how often to ask")
	}
	if a.GetRequestTimeout() != nil && a.GetRequestTimeout().AsDuration() <= 0 {
		p.Errorf(at.Field("request_timeout"), "", "must be more than nothing")
	}
	if len(a.GetGrpcServices()) > 0 {
		p.Errorf(at.Field("grpc_services"), "use cluster_names", "REST does not use gRPC services")
	}
}

// A restRunner is a source that is asked again and again. The goroutine of run owns it but state.
type restRunner struct {
	client  *Client
	ledger  *ledger
	cluster string
	delay   time.Duration
	timeout time.Duration
	random  func(n int64) (less int64)

	talk  *sotw
	http  *http.Client
	taken map[*kind]uint64 // the sum of the last body that was taken as a whole

	complaint string // what was last logged

	mu    sync.Mutex
	state restState
}

// A restState is what is known of a source that is polled, for people.
type restState struct {
	since          time.Time // the last failure was over; zero: it goes on, or nothing was asked
	asked, came    map[*kind]time.Time
	topics         []topicState
	control, error string
	failed         time.Time
}

func newRESTRunner(c *Client, l *ledger) *restRunner {
	a := l.source.Config.GetApiConfigSource()
	r := &restRunner{
		client: c, ledger: l, delay: a.GetRefreshDelay().AsDuration(), timeout: defaultRequestTimeout, random: rand.Int64N,
		talk: newSotW(l, c.o.Node, false), taken: map[*kind]uint64{},
	}
	if len(a.GetClusterNames()) > 0 {
		r.cluster = a.GetClusterNames()[0]
	}
	if d := a.GetRequestTimeout(); d != nil {
		r.timeout = d.AsDuration()
	}
	r.delay = max(r.delay, time.Millisecond)
	r.state.asked, r.state.came = map[*kind]time.Time{}, map[*kind]time.Time{}
	return r
}

// connect returns a client whose connections are to hosts of the cluster. Dialing ends with ctx.
func (r *restRunner) connect(ctx context.Context) *http.Client {
	dial := r.client.o.DialHTTP1
	if dial == nil {
		dial = r.client.o.Dial
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { // whose context may outlive the request
				if dial == nil {
					return nil, errors.New("there are no clusters")
				}
				ctx, cancel := context.WithTimeout(ctx, r.timeout)
				defer cancel()
				return dial(ctx, r.cluster)
			},
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// run asks at once for what somebody has come to want, and for everything each time refresh_delay is over, until ctx ends.
func (r *restRunner) run(ctx context.Context) {
	r.http = r.connect(ctx)
	defer r.http.CloseIdleConnections()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	r.talk.open()
	for {
		r.wants()
		failed := r.poll(ctx)
		if failed {
			r.client.failing(r.ledger)
		}
		timer.Reset(r.delay + time.Duration(r.random(int64(r.delay))))
		changed := r.ledger.changed
		if failed {
			changed = nil // who is down is not asked more often
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
			for _, t := range r.talk.types {
				t.due = true
			}
		}
	}
}

// wants takes note of what is wanted. Who asks for more names it has no version: a server that compares nothing else would say that
// nothing has changed.
func (r *restRunner) wants() {
	for i := range kinds {
		k := &kinds[i]
		for _, w := range r.ledger.news(k) {
			if r.talk.want(w); w.On {
				delete(r.taken, k)
				r.talk.types[k].version = ""
			}
		}
	}
}

// poll asks for each type that is due, and reports whether one could not be asked for.
func (r *restRunner) poll(ctx context.Context) (failed bool) {
	for ctx.Err() == nil {
		m, k := r.talk.next(nil)
		if m == nil {
			break
		}
		req, ok := m.(*discoveryv3.DiscoveryRequest)
		if !ok {
			continue
		}
		r.note(func(s *restState) { s.asked[k] = time.Now() })
		if err := r.ask(ctx, k, req); err != nil && ctx.Err() == nil {
			failed = true
			r.fail(k, err)
		}
	}
	if !failed && r.complaint != "" {
		r.complaint = ""
		r.client.log.Info("a source of resources answers again", "source", r.ledger.source.String())
	}
	r.note(func(s *restState) {
		s.topics = r.talk.topics()
		if !failed {
			s.error = ""
		}
	})
	return failed
}

func (r *restRunner) note(f func(*restState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// fail counts a request that brought nothing; the same reason is logged once.
func (r *restRunner) fail(k *kind, err error) {
	for _, name := range r.ledger.wanted(k) {
		r.client.o.Hub.Fail(r.ledger.source, resource.Key{Type: k.name, Name: name})
	}
	text := err.Error()
	if text != r.complaint {
		r.complaint = text
		r.client.log.Warn("a source of resources cannot be asked", "source", r.ledger.source.String(), "type", k.name, "error", text)
	}
	r.note(func(s *restState) { s.error, s.failed, s.since = text, time.Now(), time.Time{} })
}

// ask sends one request and takes its answer.
func (r *restRunner) ask(ctx context.Context, k *kind, m *discoveryv3.DiscoveryRequest) error {
	if k.path == "" {
		return fmt.Errorf("there is no REST service for %s", k.short)
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://source"+k.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = r.cluster
	req.Header.Set("content-type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no answer within %s", r.timeout)
		}
		var inner interface{ Unwrap() error }
		if errors.As(err, &inner) && inner.Unwrap() != nil {
			err = inner.Unwrap() // without the URL, which is not what the user has written
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	raw, err := io.ReadAll(io.LimitReader(resp.Body, int64(r.client.o.MaxReceive)+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer breaks off: %w", err)
	case len(raw) > r.client.o.MaxReceive:
		return fmt.Errorf("the answer is larger than %d bytes", r.client.o.MaxReceive)
	case resp.StatusCode == http.StatusNotModified:
		r.answered(k, "")
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %d", k.path, resp.StatusCode)
	}
	return r.take(k, raw)
}

// answered notes that an answer has come.
func (r *restRunner) answered(k *kind, control string) {
	r.note(func(s *restState) {
		s.came[k] = time.Now()
		if s.since.IsZero() {
			s.since = time.Now()
		}
		if control != "" {
			s.control = control
		}
	})
}

// take takes an answer. One that is the same as the last is not looked at again.
func (r *restRunner) take(k *kind, raw []byte) error {
	sum := maphash.Bytes(r.client.seed, raw)
	if last, ok := r.taken[k]; ok && last == sum {
		r.answered(k, "")
		return nil
	}
	doc := r.client.parse(r.cluster+k.path+".json", raw, r.client.o.RejectUnknown)
	if doc.source == nil || doc.broken {
		for _, p := range doc.problems[-1] {
			if p.Severity == resource.Error {
				return p
			}
		}
	}
	if url := doc.message.GetTypeUrl(); url != "" && url != k.url {
		return fmt.Errorf("%s answers with the type %q, want %q", k.path, clip(url), k.url)
	}
	r.answered(k, doc.message.GetControlPlane().GetIdentifier())
	resp := doc.response(k, doc.message.GetVersionInfo(), true)
	rejected := r.client.take(r.ledger.source, resp)
	r.talk.settle(resp, rejected)
	if t := r.talk.types[k]; t != nil {
		t.due = false // the next request is its acknowledgement
	}
	delete(r.taken, k)
	if len(rejected) == 0 {
		r.taken[k] = sum
	} else if s := reason(rejected); s != nil && s.GetMessage() != r.complaint {
		r.complaint = s.GetMessage()
		r.client.log.Error("a source of resources has sent some that are rejected", "source", r.ledger.source.String(), "type", k.name,
			"version", resp.version, "error", s.GetMessage())
	}
	return nil
}

// states returns what is known of the source.
func (r *restRunner) states() []StreamState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := StreamState{
		Source: r.ledger.source.String(), Transport: "rest", API: "REST", Connected: !r.state.since.IsZero(), Since: r.state.since,
		LastError: r.state.error, LastErrorAt: r.state.failed, ControlPlane: r.state.control,
	}
	if !s.Connected {
		s.Since = r.state.failed
	}
	for _, t := range r.state.topics {
		s.Types = append(s.Types, t.shown(r.state.asked[t.kind], r.state.came[t.kind]))
		s.Method = t.kind.path
	}
	if len(s.Types) > 1 {
		s.Method = "/v3/discovery"
	}
	return []StreamState{s}
}
