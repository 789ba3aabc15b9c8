package listener

import (
	"errors"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/resource"
)

// defaultConnectTimeout is how long a handshake may take where transport_socket_connect_timeout does not say. Envoy waits for ever then,
// so that a peer which stops in the middle of one keeps its connection.
const defaultConnectTimeout = 15 * time.Second

// errConnectTimeout ends a connection whose handshake took too long.
var errConnectTimeout = errors.New("listener: transport socket connect timeout")

// connectTimeoutReason is what the access log says of such a connection (%DOWNSTREAM_TRANSPORT_FAILURE_REASON%).
const connectTimeoutReason = "connect timeout"

// connectTimeout is transport_socket_connect_timeout; 0: none.
func connectTimeout(cfg *listenerv3.FilterChain, at resource.Path, p *resource.Problems) time.Duration {
	field := cfg.GetTransportSocketConnectTimeout()
	if field == nil {
		return defaultConnectTimeout
	}
	d := field.AsDuration()
	if d < 0 {
		p.Errorf(at.Field("transport_socket_connect_timeout"), "0s is no timeout", "%v is negative", d)
	}
	return d
}

// handshake does what has to be done before the chain's handler can read, within the chain's timeout.
func (l *Listener) handshake(s *session, chain *Chain) error {
	if chain.transport == nil {
		return nil
	}
	info := s.c.Info()
	stop := alarm(s.c, chain.connectTimeout, errConnectTimeout)
	err := chain.transport.Handshake(s.c)
	if stop() && (err == nil || errors.Is(err, errConnectTimeout)) {
		s.stats.Lane(s.c.Lane).ConnectTimeout.Inc()
		if info.TransportFailure == "" {
			info.TransportFailure = connectTimeoutReason
		}
		return errConnectTimeout
	}
	if err != nil {
		part(s.c)
		return err
	}
	info.HandshakeDuration = time.Duration(scope.Now() - s.began)
	return nil
}

// A peer whose handshake has failed gets this long to read why, while what it still sends, up to so many bytes, is thrown away: a close with
// unread input would reset the connection, and the alert with it.
const (
	partTime  = 500 * time.Millisecond
	partBytes = 64 << 10
)

// part ends a connection so that the peer learns why.
func part(c *conn.Conn) {
	if c.Woken() != nil || c.CloseWrite() != nil {
		return
	}
	stop := alarm(c, partTime, errConnectTimeout)
	c.Discard(len(c.Buffered()))
	b := conn.GetBuffer(conn.SmallBuffer)
	for total := 0; total < partBytes; {
		n, err := c.ReadInto(b, false)
		if err != nil {
			break
		}
		total += n
	}
	conn.PutBuffer(b)
	stop()
}

// alarm wakes whoever reads or writes after a while. stop turns it off and reports whether it went off.
func alarm(c *conn.Conn, after time.Duration, cause error) (stop func() bool) {
	if after <= 0 {
		return func() bool { return false }
	}
	rung := make(chan struct{})
	t := time.AfterFunc(after, func() {
		c.Wake(cause)
		close(rung)
	})
	return func() bool {
		if t.Stop() {
			return false
		}
		<-rung
		return true
	}
}
