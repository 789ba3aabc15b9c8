package als

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

const method = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

// How a service that hangs is noticed.
const (
	pingAfter   = 5 * time.Minute // gRPC servers end a connection on which pings come more often
	pingTimeout = 10 * time.Second
)

// How long to wait after a failure, unless a retry policy says otherwise.
const (
	retryFirst = 500 * time.Millisecond
	retryMost  = 30 * time.Second
	minRetry   = time.Millisecond
	quiet      = time.Minute // a stream that has lasted for this long has its end told
)

// A service is where entries are sent. Immutable.
type service struct {
	cluster, authority string
	header             metadata.MD
	first, most        time.Duration // between attempts: at random up to a limit that doubles with each
}

// errEnded is the end of a stream that the service has ended in order.
var errEnded = errors.New("the service has ended the stream")

// A link is the connection of a stream, and its gRPC stream while there is one. Of one goroutine.
type link struct {
	of     *stream
	conn   *grpc.ClientConn
	stream grpc.ClientStream // nil: none
	cancel context.CancelFunc
	began  time.Time     // the stream
	named  bool          // the stream's first message has been sent
	limit  time.Duration // of the next wait
	warned bool          // of failures since the last long stream
}

func newLink(s *stream) *link { return &link{of: s, limit: s.service.first} }

// deliver sends entries, on a new stream if need be. False means that the set has ended before.
func (l *link) deliver(entries []byte) bool {
	for {
		err := l.try(entries)
		if err == nil {
			return true
		}
		lasted := time.Since(l.began)
		l.fail(err, lasted)
		if !l.pause(lasted) {
			return false
		}
	}
}

// try sends entries once.
func (l *link) try(entries []byte) error {
	if l.stream == nil {
		if err := l.connect(); err != nil {
			return err
		}
	}
	err := l.stream.SendMsg(l.frame(entries))
	if errors.Is(err, io.EOF) { // the stream has ended; how, the status says
		if err = l.stream.RecvMsg(nil); err == nil {
			err = errEnded
		}
	}
	l.named = l.named || err == nil
	return err
}

// frame is a StreamAccessLogsMessage. gRPC keeps it until it is sent.
func (l *link) frame(entries []byte) []byte {
	first := l.of.first
	if l.named {
		first = nil
	}
	b := make([]byte, 0, len(first)+2*binary.MaxVarintLen64+len(entries))
	b = append(b, first...)
	b = protowire.AppendTag(b, protowire.Number(l.of.entries), protowire.BytesType)
	return protowire.AppendBytes(b, entries)
}

// connect opens a stream on a connection of its own.
func (l *link) connect() error {
	l.began = time.Now()
	v := &l.of.service
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return l.of.set.o.Dial(ctx, v.cluster) }
	conn, err := grpc.NewClient("passthrough:///"+v.cluster,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(v.authority), grpc.WithContextDialer(dial),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(), grpc.WithUserAgent("weft"), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(l.of.set.ctx, v.header))
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
	if err != nil {
		cancel()
		_ = conn.Close() // nothing runs on it
		return err
	}
	l.conn, l.stream, l.cancel, l.named = conn, s, cancel, false
	return nil
}

// fail ends the stream and tells why, once for many failures in a row.
func (l *link) fail(err error, lasted time.Duration) {
	if lasted >= quiet {
		l.warned = false
	}
	l.end()
	if l.warned || errors.Is(err, errEnded) || l.of.set.ctx.Err() != nil {
		return
	}
	l.warned = true
	const what = "access log entries cannot be sent; they wait, and are dropped when too many do"
	l.of.set.o.Log.Warn(what, "cluster", l.of.service.cluster, "error", err)
}

// pause waits after a failure, unless what has failed had lasted for longer than that. False means that another attempt is not worth it:
// the set is closed.
func (l *link) pause(lasted time.Duration) bool {
	v, set := &l.of.service, l.of.set
	if lasted >= l.limit {
		l.limit = v.first
		return set.ctx.Err() == nil
	}
	select {
	case <-set.closing:
		return false
	default:
	}
	wait := time.NewTimer(time.Duration(rand.Int64N(int64(l.limit))))
	defer wait.Stop()
	l.limit = min(2*l.limit, v.most)
	select {
	case <-wait.C:
	case <-set.closing: // once more
	}
	return true
}

// finish ends the stream in order: the service gets what was sent.
func (l *link) finish() {
	if l.stream == nil {
		return
	}
	if l.stream.CloseSend() == nil {
		_ = l.stream.RecvMsg(nil) // whatever it says, it has read all
	}
	l.end()
}

// end ends the stream, if there is one.
func (l *link) end() {
	if l.stream == nil {
		return
	}
	l.cancel()
	_ = l.conn.Close() // ends what runs on it
	l.stream, l.conn = nil, nil
}

// codec passes messages on as they are, and does not read the answer.
type codec struct{}

// Marshal implements encoding.Codec.
func (codec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

// Unmarshal implements encoding.Codec.
func (codec) Unmarshal([]byte, any) error { return nil }

// Name implements encoding.Codec.
func (codec) Name() string { return "proto" }
