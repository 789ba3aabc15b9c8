package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// An origin is a server made of frames.
type origin struct {
	nc  net.Conn
	fr  *http2.Framer
	enc *xhpack.Encoder
	dec *xhpack.Decoder
	buf strings.Builder
}

// A sent is a frame of the client's.
type sent struct {
	kind   http2.FrameType
	id     uint32
	end    bool
	fields map[string]string
	data   string
	code   http2.ErrCode
	ping   [8]byte
	inc    uint32
}

func newOrigin(nc net.Conn) *origin {
	o := &origin{nc: nc, fr: http2.NewFramer(nc, nc), dec: xhpack.NewDecoder(4096, nil)}
	o.fr.AllowIllegalWrites = true
	o.enc = xhpack.NewEncoder(&o.buf)
	return o
}

// greet reads the preface and sends settings.
func (o *origin) greet(settings ...http2.Setting) bool {
	if _, err := io.ReadFull(o.nc, make([]byte, len(preface))); err != nil {
		return false
	}
	return o.fr.WriteSettings(settings...) == nil
}

// next returns the next frame that is not of the connection's routine.
func (o *origin) next() (sent, error) {
	for {
		f, err := o.fr.ReadFrame()
		if err != nil {
			return sent{}, err
		}
		s := sent{kind: f.Header().Type, id: f.Header().StreamID}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			continue
		case *http2.WindowUpdateFrame:
			s.inc = f.Increment
		case *http2.HeadersFrame:
			s.end, s.fields = f.StreamEnded(), map[string]string{}
			block := append([]byte(nil), f.HeaderBlockFragment()...)
			for end := f.HeadersEnded(); !end; {
				c, err := o.fr.ReadFrame()
				if err != nil {
					return sent{}, err
				}
				block = append(block, c.(*http2.ContinuationFrame).HeaderBlockFragment()...)
				end = c.(*http2.ContinuationFrame).HeadersEnded()
			}
			all, err := o.dec.DecodeFull(block)
			if err != nil {
				return sent{}, err
			}
			for _, h := range all {
				s.fields[h.Name] = h.Value
			}
		case *http2.DataFrame:
			s.end, s.data = f.StreamEnded(), string(f.Data())
		case *http2.RSTStreamFrame:
			s.code = f.ErrCode
		case *http2.GoAwayFrame:
			s.code = f.ErrCode
		case *http2.PingFrame:
			s.ping = f.Data
		}
		return s, nil
	}
}

// await returns the next frame of a type, ignoring others; the zero sent at the end of the connection.
func (o *origin) await(kind http2.FrameType) sent {
	for {
		s, err := o.next()
		if err != nil || s.kind == kind {
			return s
		}
	}
}

// head sends HEADERS with fields given as name, value, ….
func (o *origin) head(id uint32, end bool, fields ...string) {
	o.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = o.enc.WriteField(xhpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = o.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(o.buf.String()), EndStream: end, EndHeaders: true})
}

func (o *origin) data(id uint32, end bool, p string) { _ = o.fr.WriteData(id, end, []byte(p)) }

// open opens a session whose server play is; it has been greeted.
func open(t testing.TB, o ClientOptions, play func(o *origin), settings ...http2.Setting) (protocol.Session, *owner, *Stats) {
	t.Helper()
	near, far := loopback(t)
	_ = far.SetDeadline(time.Now().Add(patience))
	return openOn(t, o, near, far, play, settings...)
}

// openInMemory is open within a synctest bubble.
func openInMemory(t testing.TB, o ClientOptions, play func(o *origin), settings ...http2.Setting) (protocol.Session, *owner, *Stats) {
	t.Helper()
	near, far := inMemory()
	return openOn(t, o, near, far, play, settings...)
}

func openOn(t testing.TB, o ClientOptions, near, far net.Conn, play func(o *origin), settings ...http2.Setting) (protocol.Session, *owner, *Stats) {
	t.Helper()
	st := &Stats{}
	o.Stats = func(uint32) *Stats { return st }
	done := make(chan struct{})
	go func() { // ends with play
		defer close(done)
		defer far.Close()
		if p := newOrigin(far); p.greet(settings...) {
			play(p)
		}
	}()
	own := newOwner()
	s, err := NewClient(o).Open(context.Background(), conn.New(near), own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close(errors.New("over"))
		own.await(t, func(o *owner) bool { return o.gone == 1 })
		<-done
	})
	return s, own, st
}
