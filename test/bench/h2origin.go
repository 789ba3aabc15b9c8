//go:build linux

package main

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// A service is what a listener of the origin does. HTTP/2 requests are told apart by the
// port they come to, so that their fields need no decoding.
type service string

const (
	serviceHTTP1    service = "http1"    // the path chooses the body
	serviceHTTP2    service = "http2"    // 100 bytes
	serviceUnary    service = "unary"    // gRPC: a message of 100 bytes and trailers
	serviceEcho     service = "echo"     // gRPC: sends back what it gets, then trailers
	serviceDownload service = "download" // as many bytes as the path says, as in /1000000
)

func services() []service {
	return []service{serviceHTTP1, serviceHTTP2, serviceUnary, serviceEcho, serviceDownload}
}

const (
	h2FrameHead   = 9
	h2FrameData   = 16 << 10 // the payload every peer accepts (RFC 9113 section 4.2)
	h2Batch       = 256 << 10
	h2FirstWindow = 64<<10 - 1
	h2MaxWindow   = 1<<31 - 1
)

// h2Answers are a service's prepared responses. A field section is encoded twice: the first
// fills the peer's dynamic table, the others point into it.
type h2Answers struct {
	first, again []byte // stream 0 in every frame
	plain        []byte // for a peer without a table
	window       int64  // what the response takes from the connection's window
	zeros        []byte // what downloads are made of
}

// prepareH2 returns what s answers with; for echo and download only the fields.
func prepareH2(s service) h2Answers {
	fields := []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "server", Value: "origin"}, {Name: "content-type", Value: "application/octet-stream"},
	}
	var tail []byte
	var window int64
	switch s {
	case serviceHTTP2:
		fields = append(fields, hpack.HeaderField{Name: "last-modified", Value: "Mon, 05 Jan 2026 10:00:00 GMT"},
			hpack.HeaderField{Name: "content-length", Value: "100"})
		window = 100
		tail = append(frameHead(nil, 100, http2.FrameData, http2.FlagDataEndStream, 0), strings.Repeat("x", 100)...)
	case serviceUnary:
		fields[2].Value = "application/grpc"
		window = int64(len(grpcReply()))
		tail = append(frameHead(nil, len(grpcReply()), http2.FrameData, 0, 0), grpcReply()...)
		tail = append(tail, h2Trailers()...)
	case serviceEcho:
		fields[2].Value = "application/grpc"
	}
	var block strings.Builder
	section := func(e *hpack.Encoder) []byte {
		block.Reset()
		for _, f := range fields {
			_ = e.WriteField(f) // a strings.Builder takes everything
		}
		b := frameHead(nil, block.Len(), http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0)
		return append(append(b, block.String()...), tail...)
	}
	table, none := hpack.NewEncoder(&block), hpack.NewEncoder(&block)
	none.SetMaxDynamicTableSize(0)
	return h2Answers{first: section(table), again: section(table), plain: section(none), window: window, zeros: make([]byte, h2FrameData)}
}

// grpcReply is a gRPC message that holds one protobuf field: number 1, 98 bytes.
func grpcReply() []byte {
	return append([]byte{0, 0, 0, 0, 100, 1<<3 | 2, 98}, strings.Repeat("x", 98)...)
}

// h2Trailers ends a stream with "grpc-status: 0", spelled out so that the table stays as it is.
func h2Trailers() []byte {
	block := "\x00\x0bgrpc-status\x010"
	return append(frameHead(nil, len(block), http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 0), block...)
}

// frameHead appends a frame's first nine bytes.
func frameHead(b []byte, size int, t http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// An h2Conn is the HTTP/2 side of a connection from a proxy. It trusts what it reads.
type h2Conn struct {
	service service
	answers h2Answers
	greeted bool // the client's preface is here
	filled  bool // the peer's table holds the fields
	plain   bool // the peer has no table
	window  int64
	initial int64
	taken   int64    // bytes of DATA not yet given back
	waiting []uint32 // requests whose answer waits for the connection's window
	streams map[uint32]*h2Stream
	active  []*h2Stream // echo and download: those with something to send
	decoder *hpack.Decoder
	out     []byte
}

// An h2Stream is one that takes longer than an answer.
type h2Stream struct {
	id      uint32
	window  int64
	pending []byte // to be sent back
	left    int64  // bytes of a download
	ended   bool   // nothing comes after pending or left
	active  bool
}

func newH2Conn(s service, answers h2Answers) *h2Conn {
	h := &h2Conn{service: s, answers: answers, window: h2FirstWindow, initial: h2FirstWindow, streams: map[uint32]*h2Stream{}}
	if s == serviceDownload {
		h.decoder = hpack.NewDecoder(4096, nil)
	}
	h.out = frameHead(h.out, 12, http2.FrameSettings, 0, 0)
	h.out = setting(h.out, http2.SettingMaxConcurrentStreams, 1000)
	h.out = setting(h.out, http2.SettingInitialWindowSize, h2MaxWindow)
	h.out = windowUpdate(h.out, h2MaxWindow-h2FirstWindow)
	return h
}

func setting(b []byte, id http2.SettingID, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), value)
}

func windowUpdate(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(frameHead(b, 4, http2.FrameWindowUpdate, 0, 0), n)
}

// read takes the whole frames of in and returns the rest; answers are in h.out.
func (h *h2Conn) read(in []byte) []byte {
	if !h.greeted {
		if len(in) < len(http2.ClientPreface) {
			return in
		}
		h.greeted, in = true, in[len(http2.ClientPreface):]
	}
	for len(in) >= h2FrameHead {
		size := int(in[0])<<16 | int(in[1])<<8 | int(in[2])
		if len(in) < h2FrameHead+size {
			break
		}
		id := binary.BigEndian.Uint32(in[5:]) & h2MaxWindow
		h.frame(http2.FrameType(in[3]), http2.Flags(in[4]), id, in[h2FrameHead:h2FrameHead+size])
		in = in[h2FrameHead+size:]
	}
	return in
}

func (h *h2Conn) frame(t http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	switch t {
	case http2.FrameHeaders:
		h.request(flags, id, payload)
	case http2.FrameData:
		h.data(flags, id, payload)
	case http2.FrameRSTStream:
		if s := h.streams[id]; s != nil {
			s.pending, s.left, s.ended = nil, 0, false
			delete(h.streams, id)
		}
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			h.settings(payload)
		}
	case http2.FramePing:
		if !flags.Has(http2.FlagPingAck) {
			h.out = append(frameHead(h.out, len(payload), http2.FramePing, http2.FlagPingAck, 0), payload...)
		}
	case http2.FrameWindowUpdate:
		h.grow(id, int64(binary.BigEndian.Uint32(payload)&h2MaxWindow))
	}
}

// request begins a stream.
func (h *h2Conn) request(flags http2.Flags, id uint32, payload []byte) {
	if h.service == serviceEcho || h.service == serviceDownload {
		if h.streams[id] != nil {
			return // trailers
		}
		s := &h2Stream{id: id, window: h.initial}
		h.streams[id] = s
		h.answer(id)
		if h.service == serviceDownload {
			s.left, s.ended = h.asked(flags, payload), true
			h.activate(s)
			return
		}
	}
	if flags.Has(http2.FlagHeadersEndStream) {
		h.end(id)
	}
}

// asked returns how many bytes a download is to have.
func (h *h2Conn) asked(flags http2.Flags, payload []byte) (n int64) {
	if flags.Has(http2.FlagHeadersPadded) {
		payload = payload[1 : len(payload)-int(payload[0])]
	}
	if flags.Has(http2.FlagHeadersPriority) {
		payload = payload[5:]
	}
	fields, _ := h.decoder.DecodeFull(payload)
	for _, f := range fields {
		if f.Name == ":path" {
			n, _ = strconv.ParseInt(strings.TrimPrefix(f.Value, "/"), 10, 64)
		}
	}
	return n
}

func (h *h2Conn) data(flags http2.Flags, id uint32, payload []byte) {
	if h.taken += int64(len(payload)); h.taken > h2MaxWindow/2 {
		h.out = windowUpdate(h.out, uint32(h.taken))
		h.taken = 0
	}
	if s := h.streams[id]; s != nil && h.service == serviceEcho && len(payload) > 0 {
		if flags.Has(http2.FlagDataPadded) {
			payload = payload[1 : len(payload)-int(payload[0])]
		}
		s.pending = append(s.pending, payload...)
		h.activate(s)
	}
	if flags.Has(http2.FlagDataEndStream) {
		h.end(id)
	}
}

// end is the end of a request: time to answer.
func (h *h2Conn) end(id uint32) {
	if h.service == serviceHTTP2 || h.service == serviceUnary {
		if h.window < h.answers.window || len(h.waiting) > 0 {
			h.waiting = append(h.waiting, id)
			return
		}
		h.window -= h.answers.window
		h.answer(id)
		return
	}
	if s := h.streams[id]; s != nil {
		s.ended = true
		h.activate(s)
	}
}

// answer appends the prepared response, or its fields, with id in every frame.
func (h *h2Conn) answer(id uint32) {
	from := h.answers.again
	switch {
	case h.plain:
		from = h.answers.plain
	case !h.filled:
		from, h.filled = h.answers.first, true
	}
	h.send(from, id)
}

func (h *h2Conn) send(frames []byte, id uint32) {
	at := len(h.out)
	for h.out = append(h.out, frames...); at < len(h.out); {
		size := int(h.out[at])<<16 | int(h.out[at+1])<<8 | int(h.out[at+2])
		binary.BigEndian.PutUint32(h.out[at+5:], id)
		at += h2FrameHead + size
	}
}

func (h *h2Conn) settings(payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(payload)) {
		case http2.SettingHeaderTableSize:
			h.plain = value < 4096
		case http2.SettingInitialWindowSize:
			for _, s := range h.streams {
				s.window += int64(value) - h.initial
				h.activate(s)
			}
			h.initial = int64(value)
		}
	}
	h.out = frameHead(h.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}

// grow widens a window and sends what waited for it.
func (h *h2Conn) grow(id uint32, n int64) {
	if id != 0 {
		if s := h.streams[id]; s != nil {
			s.window += n
			h.activate(s)
		}
		return
	}
	for h.window += n; len(h.waiting) > 0 && h.window >= h.answers.window; h.waiting = h.waiting[1:] {
		h.window -= h.answers.window
		h.answer(h.waiting[0])
	}
}

func (h *h2Conn) activate(s *h2Stream) {
	if !s.active {
		s.active = true
		h.active = append(h.active, s)
	}
}

// fill appends DATA of active streams until the batch is full, windows are or nothing is
// left, and reports whether there is more to send at once.
func (h *h2Conn) fill() (more bool) {
	kept := h.active[:0]
	for _, s := range h.active {
		for len(h.out) < h2Batch && h.fillOne(s) {
		}
		data := s.left > 0 || len(s.pending) > 0
		if s.active = data && s.window > 0 || !data && s.ended; s.active {
			kept = append(kept, s)
			more = more || !data || h.window > 0
		}
	}
	clear(h.active[len(kept):])
	h.active = kept
	return more
}

// fillOne appends one frame of s, or its end, and reports whether there may be another.
func (h *h2Conn) fillOne(s *h2Stream) bool {
	n := min(h.window, s.window, max(s.left, int64(len(s.pending))), h2FrameData)
	if n > 0 {
		h.window -= n
		s.window -= n
		h.out = frameHead(h.out, int(n), http2.FrameData, 0, s.id)
		if s.left > 0 {
			s.left -= n
			h.out = append(h.out, h.answers.zeros[:n]...)
			return true
		}
		h.out = append(h.out, s.pending[:n]...)
		s.pending = s.pending[:copy(s.pending, s.pending[n:])]
		return true
	}
	if !s.ended || s.left > 0 || len(s.pending) > 0 {
		return false
	}
	if h.service == serviceEcho {
		h.send(h2Trailers(), s.id)
	} else {
		h.out = frameHead(h.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	}
	s.ended = false
	delete(h.streams, s.id)
	return false
}

// frames goes on with an HTTP/2 connection: takes what has arrived and writes what it can.
func (o *origin) frames(c *originConn, in []byte) {
	if rest := c.h2.read(in); len(rest) > 0 {
		c.head = append([]byte(nil), rest...)
	}
	o.flush(c)
}

// flush writes until there is nothing to send or the socket is full.
func (o *origin) flush(c *originConn) {
	h := c.h2
	for more := true; more; {
		more = h.fill()
		for len(h.out) > 0 {
			n, err := rawWrite(c.fd, h.out)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN {
				o.await(c, true)
				return
			}
			if err != 0 {
				o.drop(c)
				return
			}
			h.out = h.out[:copy(h.out, h.out[n:])]
		}
	}
	o.await(c, false)
}

// await has the connection's socket watched for room too, or not. Unlike one of HTTP/1 it
// is read all the time: what makes room is in there.
func (o *origin) await(c *originConn, room bool) {
	if c.writing == room {
		return
	}
	c.writing = room
	events := uint32(unix.EPOLLIN)
	if room {
		events |= unix.EPOLLOUT
	}
	_ = o.watch(unix.EPOLL_CTL_MOD, c.fd, events)
}
