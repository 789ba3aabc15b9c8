package grpcstats

import (
	"io"
	"strconv"
	"time"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/internal/grpc/calls"
	"github.com/weftproxy/weft/message"
)

// stateName is the key of the counts among the filter state.
const stateName = "envoy.filters.http.grpc_stats"

// A call is one gRPC call under way. stats is nil where the call is not counted.
type call struct {
	f     *Filter
	x     *exchange.Exchange
	stats *calls.Stats
	in    requestBody
	out   responseBody
}

// emit writes the message counts into the filter state, as Envoy prints them. The request's body is not read any more.
func (c *call) emit() {
	sent, received := c.in.seen.Count(), c.out.seen.Count()
	if !c.f.state || sent+received == 0 {
		return
	}
	r := &c.x.Record
	if r.FilterState == nil {
		r.FilterState = map[string]string{}
	}
	r.FilterState[stateName] = strconv.FormatUint(sent, 10) + "," + strconv.FormatUint(received, 10)
}

// took records the time from the last byte of the request sent to the last byte of the response received.
func (c *call) took() {
	r := &c.x.Record
	if c.f.time && c.stats != nil && r.UpstreamSent != 0 && r.UpstreamDone >= r.UpstreamSent {
		c.stats.RqTime.Record(uint64((r.UpstreamDone - r.UpstreamSent) / int64(time.Millisecond)))
	}
}

// requestBody counts the messages of a request. The upstream's session may read it on a goroutine of its own.
type requestBody struct {
	message.Body
	stats *calls.Stats
	seen  grpc.Scanner
}

// Next implements message.Body.
func (b *requestBody) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if n := b.seen.Scan(p); n > 0 && b.stats != nil {
		b.stats.RequestMessages.Add(uint64(n))
	}
	return p, err
}

// Pause implements message.Pauser where the body below does.
func (b *requestBody) Pause() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Pause()
	}
}

// Resume implements message.Pauser.
func (b *requestBody) Resume() {
	if p, ok := b.Body.(message.Pauser); ok {
		p.Resume()
	}
}

// responseBody counts the messages of a response, and what its trailers say.
type responseBody struct {
	message.Body
	call   *call
	counts bool // it is a gRPC response
	empty  bool // there is nothing to read
	ended  bool
	closed bool
	seen   grpc.Scanner
}

// Next implements message.Body.
func (b *responseBody) Next() ([]byte, error) {
	p, err := b.Body.Next()
	if err == io.EOF && !b.ended {
		b.ended = true
		if t := b.Trailer(); t != nil {
			b.call.stats.Charge(t.Known(message.GRPCStatus))
		}
	}
	if b.counts && err == nil {
		if n := b.seen.Scan(p); n > 0 && b.call.stats != nil {
			b.call.stats.ResponseMessages.Add(uint64(n))
		}
	}
	return p, err
}

// Close implements message.Body. Once the body below is closed nobody reads the request's any more.
func (b *responseBody) Close(cause error) {
	b.Body.Close(cause)
	if b.closed {
		return
	}
	b.closed = true
	if b.ended || b.empty {
		b.call.took()
	}
	b.call.emit()
}
