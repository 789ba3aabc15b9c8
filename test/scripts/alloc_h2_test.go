package scripts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/internal/race"
	"github.com/weftproxy/weft/test/kit"
)

// TestAllocationsOfAProxiedH2Get counts what the whole proxy allocates for a GET from HTTP/2 to HTTP/2, statistics and access log on. The
// client and the upstream reuse their buffers and encode nothing, so everything counted is Weft's.
func TestAllocationsOfAProxiedH2Get(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	const most = 4
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go h2AnswerAlways(ln, done)
	t.Cleanup(func() { ln.Close(); <-done })

	lab := kit.New(t)
	lab.Origin("spare", kit.HTTP2) // for the cluster's protocol options
	host, port, _ := net.SplitHostPort(ln.Addr().String())
	w := lab.Start(kit.HTTP{Clusters: `- {name: a, type: STATIC, {{codec "spare"}},
    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: ` + host + `, port_value: ` + port + `}}}}]}]}}`}.YAML())
	addr, err := w.Addr("main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	p := newRawH2(c)
	if err := p.begin(http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	// The first request puts its fields into the table; all others are the same few bytes.
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i, id := 0, uint32(1); i < 2; i, id = i+1, id+2 {
		b.Reset()
		for _, f := range kit.F(":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/index.html", "user-agent", "test", "accept", "*/*") {
			_ = enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}) // a buffer takes everything
		}
		if err := p.ask(id, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	block, id := b.Bytes(), uint32(5)
	get := func() {
		if err := p.ask(id, block); err != nil {
			t.Fatal(err)
		}
		id += 2
	}
	for range 200 {
		get()
	}
	n := testing.AllocsPerRun(2000, get)
	t.Logf("%v heap allocations a request", n)
	if n > most {
		t.Errorf("%v heap allocations a request, want at most %d", n, most)
	}
}

// A rawH2 is a peer of HTTP/2 that allocates nothing for a frame. It reads no header sections.
type rawH2 struct {
	c    net.Conn
	in   []byte // frames that were read in part
	out  []byte
	spot [32 << 10]byte
}

func newRawH2(c net.Conn) *rawH2 {
	return &rawH2{c: c, in: make([]byte, 0, 64<<10), out: make([]byte, 0, 4096)}
}

// begin sends the preface, if there is one to send, and empty SETTINGS.
func (p *rawH2) begin(preface string) error {
	p.out = append(p.out[:0], preface...)
	p.frame(http2.FrameSettings, 0, 0, nil)
	return p.flush()
}

func (p *rawH2) frame(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	n := len(payload)
	p.out = append(p.out, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags))
	p.out = binary.BigEndian.AppendUint32(p.out, id)
	p.out = append(p.out, payload...)
}

func (p *rawH2) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.c.Write(p.out)
	p.out = p.out[:0]
	return err
}

// next calls f with each frame that has come, which may queue others, and reads more when there is none.
func (p *rawH2) next(f func(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte)) error {
	n, err := p.c.Read(p.spot[:])
	if err != nil {
		return err
	}
	p.in = append(p.in, p.spot[:n]...)
	b := p.in
	for len(b) >= 9 {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if len(b) < 9+size {
			break
		}
		f(http2.FrameType(b[3]), http2.Flags(b[4]), binary.BigEndian.Uint32(b[5:9])&(1<<31-1), b[9:9+size])
		b = b[9+size:]
	}
	p.in = p.in[:copy(p.in[:cap(p.in)], b)]
	return p.flush()
}

// routine answers what any peer must answer.
func (p *rawH2) routine(kind http2.FrameType, flags http2.Flags, payload []byte) {
	switch {
	case kind == http2.FrameSettings && flags&http2.FlagSettingsAck == 0:
		p.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, nil)
	case kind == http2.FramePing && flags&http2.FlagPingAck == 0:
		p.frame(http2.FramePing, http2.FlagPingAck, 0, payload)
	case kind == http2.FrameData && len(payload) > 0:
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(payload)))
		p.frame(http2.FrameWindowUpdate, 0, 0, n[:])
	}
}

// ask sends a request and reads to the end of its response.
func (p *rawH2) ask(id uint32, block []byte) error {
	p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, id, block)
	if err := p.flush(); err != nil {
		return err
	}
	ended, broken := false, false
	for !ended {
		err := p.next(func(kind http2.FrameType, flags http2.Flags, got uint32, payload []byte) {
			p.routine(kind, flags, payload)
			ended = ended || got == id && flags&http2.FlagDataEndStream != 0
			broken = broken || kind == http2.FrameRSTStream || kind == http2.FrameGoAway
		})
		if err != nil {
			return err
		}
		if broken {
			return errors.New("the stream or the connection was given up")
		}
	}
	return nil
}

// h2AnswerAlways answers every request on its one connection with a small response, until the peer closes it.
func h2AnswerAlways(l net.Listener, done chan<- struct{}) {
	defer close(done)
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	p := newRawH2(c)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil || p.begin("") != nil {
		return
	}
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}) // in the static table: one byte
	head, body := b.Bytes(), []byte("0123456789")
	for {
		err := p.next(func(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
			p.routine(kind, flags, payload)
			if kind == http2.FrameHeaders {
				p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, head)
				p.frame(http2.FrameData, http2.FlagDataEndStream, id, body)
			}
		})
		if err != nil {
			return
		}
	}
}
