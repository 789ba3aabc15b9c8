package http2

import (
	"context"
	"sync"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// A Client opens sessions. Safe for concurrent use.
type Client struct {
	o     ClientOptions // with defaults filled in; immutable
	calls sync.Pool     // of *call
}

// NewClient returns a codec with those settings.
func NewClient(o ClientOptions) *Client {
	o.Options = o.Options.complete(maxStreamID)
	o.ContinueTimeout = orDefault(o.ContinueTimeout, time.Second)
	o.SettingsTimeout = orDefault(o.SettingsTimeout, 5*time.Second)
	return &Client{o: o}
}

// Open implements protocol.Client. It does not block: requests may be sent before the server's
// settings have come. Only those that need extended CONNECT wait for them.
func (cl *Client) Open(_ context.Context, c *conn.Conn, o protocol.Owner) (protocol.Session, error) {
	s := &session{cl: cl, owner: o, ready: make(chan struct{}), told: make(chan struct{})}
	s.begin(c, &cl.o.Options, true)
	s.r = reader{m: &s.mux, side: s}
	s.r.dec.Init(cl.o.TableSize)
	s.nextID = 1
	s.mu.Lock()
	b := appendSetting(s.settings(), settingPush, 0)
	s.greet(preface, b)
	s.limit = int(min(s.o.MaxStreams, s.peerStreams))
	s.mu.Unlock()
	go s.read() // ends when the connection does, which Close brings about
	return s, nil
}

var (
	_ protocol.Client  = (*Client)(nil)
	_ protocol.Session = (*session)(nil)
	_ protocol.Call    = (*call)(nil)
)
