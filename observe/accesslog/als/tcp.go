package als

import "github.com/weftproxy/weft/observe"

// A tcpLog sends a TCPAccessLogEntry for each connection.
type tcpLog struct {
	stream *stream
	tags   []tag
}

// Log implements accesslog.Writer.
func (l *tcpLog) Log(e *observe.Entry) {
	if e.Record == nil {
		return
	}
	s := l.stream.set.take()
	b, at := begin((*s)[:0], 1) // an entry of the list
	b = appendCommon(b, 1, e, l.tags)
	b, bytes := begin(b, 2) // connection_properties
	b = appendUint(b, 1, e.Record.BytesIn)
	b = appendUint(b, 2, e.Record.BytesOut)
	*s = end(end(b, bytes), at)
	l.stream.add(*s)
	l.stream.set.put(s)
}
