package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// What Options have unless they say otherwise.
const (
	DefaultTimeout = 10 * time.Second
	// DefaultQuiet is how long nothing has to come, once all has that was asked for, before that is taken for all there is.
	DefaultQuiet = 300 * time.Millisecond
	// patience is how many times longer a server that has answered, but not with all, is given to send the rest.
	patience = 4
	// maxMessage bounds a message of the control plane: 256 MiB.
	maxMessage = 256 << 20
)

// Options are what to ask whom.
type Options struct {
	Server    string            // host:port or unix:path
	TLS       *tls.Config       // nil: none
	Authority string            // "": the server's
	Metadata  map[string]string // sent with the stream
	Node      *corev3.Node
	Types     []string // names, abbreviations or type URLs; none: listeners and clusters
	Names     []string // of the resources, when Types is one; none: all
	Delta     bool
	Follow    bool          // ask for what is referred to, too
	Reveal    bool          // leave private keys and passwords in
	Timeout   time.Duration // for all of it; 0: 10 s
	Quiet     time.Duration // 0: 300 ms
}

// A Resource is one that was sent.
type Resource struct {
	Name    string
	Version string     // empty without delta
	Message *anypb.Any // fit to be written as text: see Options.Reveal
}

// An Answer is what was sent of one type.
type Answer struct {
	Type      string
	Version   string
	Resources []Resource // by name
	Missing   []string   // asked for by name, and not sent
	Silent    bool       // the server has not answered at all
}

// A Result is what a control plane has sent.
type Result struct {
	ControlPlane string // what it calls itself; may be empty
	Answers      []Answer
}

// Problems says what is missing in words; none when all that was asked for has come.
func (r *Result) Problems() []string {
	var out []string
	for _, a := range r.Answers {
		switch {
		case a.Silent:
			out = append(out, a.Type+": no answer")
		case len(a.Missing) > 0:
			out = append(out, a.Type+": not sent: "+strings.Join(a.Missing, ", "))
		}
	}
	return out
}

// Fetch asks a control plane. An error means that nothing is known; what has not come in time is in the Result.
func Fetch(ctx context.Context, o Options) (*Result, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Quiet <= 0 {
		o.Quiet = DefaultQuiet
	}
	s, err := newSession(o)
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if o.TLS != nil {
		creds = credentials.NewTLS(o.TLS)
	}
	target := o.Server
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithNoProxy(), grpc.WithUserAgent("weft"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}
	if o.Authority != "" {
		options = append(options, grpc.WithAuthority(o.Authority))
	}
	cc, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Server, err)
	}
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	for name, value := range o.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	st, err := open(ctx, cc, o.Delta)
	if err != nil {
		return nil, s.explain(err)
	}
	return s.run(ctx, st)
}

// An asked is what is asked for of one type.
type asked struct {
	kind     kind
	names    []string // in the order in which they came up
	all      bool     // the wildcard
	began    bool     // a request was sent
	answered bool     // since the last request that asked for more
	ever     bool     // answered
	version  string
	nonce    string
	got      map[string]Resource
	gone     map[string]bool // the server says that there is none
}

func (a *asked) missing() []string {
	var out []string
	for _, name := range a.names {
		if _, ok := a.got[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

// complete reports whether the answer to all that is asked has come.
func (a *asked) complete() bool {
	if !a.answered {
		return false
	}
	for _, name := range a.missing() {
		if !a.gone[name] {
			return false
		}
	}
	return true
}

// A session is one conversation.
type session struct {
	o       Options
	types   map[string]*asked // by URL
	control string
	began   bool // something was sent, and so the node
}

func newSession(o Options) (*session, error) {
	s := &session{o: o, types: map[string]*asked{}}
	if len(o.Names) > 0 && len(o.Types) != 1 {
		return nil, errors.New("names are of one type: give one type with them")
	}
	types := o.Types
	if len(types) == 0 {
		types = []string{"listeners", "clusters"}
	}
	for _, t := range types {
		k, err := kindOf(t)
		if err != nil {
			return nil, err
		}
		a := s.of(k.url)
		a.names, a.all = o.Names, len(o.Names) == 0
	}
	return s, nil
}

// of is what is asked for of a type, made if need be.
func (s *session) of(url string) *asked {
	a := s.types[url]
	if a == nil {
		k, err := kindOf(url)
		if err != nil {
			k = kind{name: url, url: url}
		}
		a = &asked{kind: k, got: map[string]Resource{}, gone: map[string]bool{}}
		s.types[url] = a
	}
	return a
}

// run asks, and takes what comes, until all has come or the time is over.
func (s *session) run(ctx context.Context, st stream) (*Result, error) {
	for _, a := range s.sorted() {
		if err := s.ask(st, a, a.names); err != nil {
			return nil, s.explain(err)
		}
	}
	messages, failed := make(chan *message), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			m, err := st.receive()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	var quiet <-chan time.Time
	for {
		select {
		case m := <-messages:
			if err := s.take(st, m); err != nil {
				return nil, s.explain(err)
			}
			quiet = s.pause()
		case err := <-failed:
			if s.anything() && (quiet != nil || ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded) {
				return s.result(), nil
			}
			return nil, s.explain(err)
		case <-ctx.Done():
			if s.anything() {
				return s.result(), nil
			}
			return nil, s.explain(ctx.Err())
		case <-quiet:
			return s.result(), nil
		}
	}
}

// pause is when what has come is taken for all there is; never while a type is not answered.
func (s *session) pause() <-chan time.Time {
	complete := true
	for _, a := range s.types {
		if !a.answered {
			return nil
		}
		complete = complete && a.complete()
	}
	if complete {
		return time.After(s.o.Quiet)
	}
	return time.After(patience * s.o.Quiet)
}

func (s *session) anything() bool {
	for _, a := range s.types {
		if a.ever {
			return true
		}
	}
	return false
}

// take takes a message, acknowledges it, and asks for what it refers to.
func (s *session) take(st stream, m *message) error {
	a := s.types[m.url]
	if a == nil {
		return nil // nobody has asked
	}
	if m.control != "" {
		s.control = m.control
	}
	a.answered, a.ever, a.version, a.nonce = true, true, m.version, m.nonce
	var refs []reference
	for i, r := range m.resources {
		w := walker{reveal: s.o.Reveal}
		w.any(r.Message)
		refs = append(refs, w.refs...)
		if r.Name == "" {
			r.Name = fmt.Sprintf("(without a name %d)", i)
		}
		a.got[r.Name] = r
	}
	for _, name := range m.removed {
		a.gone[name] = true
		delete(a.got, name)
	}
	more := map[string][]string{m.url: nil} // which acknowledges
	if s.o.Follow {
		for _, r := range refs {
			s.refer(more, r)
		}
	}
	for _, a := range s.sorted() {
		if names, ok := more[a.kind.url]; ok {
			if err := s.ask(st, a, names); err != nil {
				return err
			}
		}
	}
	return nil
}

// refer adds a reference to what is asked for.
func (s *session) refer(more map[string][]string, r reference) {
	a := s.of(r.url)
	switch {
	case r.name == "" && a.all, r.name != "" && slices.Contains(a.names, r.name):
		return
	case r.name == "":
		a.all = true
	default:
		a.names = append(a.names, r.name)
	}
	a.answered = false
	more[r.url] = append(more[r.url], r.name)
}

// ask sends a request for a type: names are what is new in it.
func (s *session) ask(st stream, a *asked, names []string) error {
	node := s.o.Node
	if s.began {
		node = nil
	}
	s.began = true
	err := st.send(node, a, names)
	a.began = true
	if s.o.Delta {
		a.nonce = "" // a response is acknowledged once
	}
	if errors.Is(err, io.EOF) {
		return nil // the stream has ended; who receives learns why
	}
	return err
}

// sorted are the types in the order of kinds.
func (s *session) sorted() []*asked {
	out := make([]*asked, 0, len(s.types))
	for _, a := range s.types {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *asked) int {
		if x, y := order(a.kind.url), order(b.kind.url); x != y {
			return x - y
		}
		return strings.Compare(a.kind.url, b.kind.url)
	})
	return out
}

func (s *session) result() *Result {
	out := &Result{ControlPlane: s.control}
	for _, a := range s.sorted() {
		answer := Answer{Type: a.kind.name, Version: a.version, Missing: a.missing(), Silent: !a.ever}
		for _, r := range a.got {
			answer.Resources = append(answer.Resources, r)
		}
		slices.SortFunc(answer.Resources, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
		slices.Sort(answer.Missing)
		out.Answers = append(out.Answers, answer)
	}
	return out
}

// explain says what went wrong in words that help.
func (s *session) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("%s has answered nothing within %s", s.o.Server, s.o.Timeout)
	}
	st, ok := status.FromError(err)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has ended the stream without an answer", s.o.Server)
	}
	if !ok {
		return fmt.Errorf("%s: %w", s.o.Server, err)
	}
	text := st.Message()
	switch {
	case st.Code() == codes.Unimplemented:
		method := "state-of-the-world"
		if s.o.Delta {
			method = "delta"
		}
		return fmt.Errorf("%s speaks gRPC, but not %s ADS: %s", s.o.Server, method, text)
	case st.Code() == codes.Unavailable && s.o.TLS == nil && (strings.Contains(text, "EOF") || strings.Contains(text, "http2") ||
		strings.Contains(text, "error reading server preface")):
		return fmt.Errorf("%s does not speak gRPC without TLS; is --tls missing? (%s)", s.o.Server, text)
	case st.Code() == codes.Unavailable && strings.Contains(text, "first record does not look like a TLS handshake"):
		return fmt.Errorf("%s does not speak TLS; leave out --tls (%s)", s.o.Server, text)
	case st.Code() == codes.Unavailable:
		return fmt.Errorf("cannot reach %s: %s", s.o.Server, text)
	}
	return fmt.Errorf("%s ended the stream: %s: %s", s.o.Server, st.Code(), text)
}
