//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Client is an HTTP/2 connection that asks one thing at a time.
// It serves probes, idle connections, downloads and the well-behaved client beside an
// attack; load comes from h2load.
type h2Client struct {
	conn   net.Conn
	scheme string
	framer *http2.Framer
	block  strings.Builder
	fields *hpack.Encoder
	next   uint32 // the next stream
}

// dialH2 connects and greets, with prior knowledge. Window is what the peer may send before
// it hears of us, on a stream and on the connection; read is the size of the buffer, 0 for none.
func dialH2(addr string, limit time.Duration, window uint32, read int) (*h2Client, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	return greetH2(conn, "http", limit, window, read)
}

// greetH2 greets on a connection, which it closes when that fails.
func greetH2(conn net.Conn, scheme string, limit time.Duration, window uint32, read int) (*h2Client, error) {
	c := &h2Client{conn: conn, scheme: scheme, next: 1}
	var in io.Reader = conn
	if read > 0 {
		in = bufio.NewReaderSize(conn, read)
	}
	c.framer = http2.NewFramer(conn, in)
	c.framer.SetReuseFrames()
	c.fields = hpack.NewEncoder(&c.block)
	if err := errors.Join(conn.SetDeadline(time.Now().Add(limit)), c.greet(window)); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *h2Client) greet(window uint32) error {
	_, err := io.WriteString(c.conn, http2.ClientPreface)
	if err == nil {
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	}
	if err == nil && window > h2FirstWindow {
		err = c.framer.WriteWindowUpdate(0, window-h2FirstWindow)
	}
	return err
}

// section encodes the fields of a GET, and more behind them.
func (c *h2Client) section(path string, more ...hpack.HeaderField) []byte {
	c.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: c.scheme}, {Name: ":path", Value: path}, {Name: ":authority", Value: "bench"},
	}, more...) {
		_ = c.fields.WriteField(f) // a strings.Builder takes everything
	}
	return []byte(c.block.String())
}

// ask sends a GET for path and reads the answer, which must be a whole 200. It returns the
// length of the body. Windows are refilled when half of window is used.
func (c *h2Client) ask(path string, limit time.Duration, window uint32) (int64, error) {
	if err := c.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	id := c.next
	c.next += 2
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.section(path), EndHeaders: true, EndStream: true,
	}); err != nil {
		return 0, err
	}
	var got int64
	var used uint32
	answered := false
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return got, err
		}
		ended := false
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if f.StreamID != id {
				continue
			}
			if !answered && !isOK(f.HeaderBlockFragment()) {
				return got, fmt.Errorf("GET %s: not 200", path)
			}
			answered, ended = true, f.StreamEnded()
		case *http2.DataFrame:
			got += int64(len(f.Data()))
			used += f.Length
			ended = f.StreamEnded()
		default:
			err = c.control(f, id)
		}
		if err == nil && used > window/2 {
			err = c.refill(id, used, ended)
			used = 0
		}
		switch {
		case err != nil:
			return got, err
		case ended && !answered:
			return got, errors.New("body without fields")
		case ended:
			return got, c.refill(0, used, true)
		}
	}
}

// refill gives back what has been read.
func (c *h2Client) refill(id, used uint32, ended bool) error {
	if used == 0 {
		return nil
	}
	err := c.framer.WriteWindowUpdate(0, used)
	if err == nil && !ended {
		err = c.framer.WriteWindowUpdate(id, used)
	}
	return err
}

// control acts on a frame that is no part of the answer on stream id.
func (c *h2Client) control(f http2.Frame, id uint32) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == id {
			return http2.StreamError{StreamID: id, Code: f.ErrCode}
		}
	case *http2.GoAwayFrame:
		if f.LastStreamID < id {
			return fmt.Errorf("GOAWAY: %v", f.ErrCode)
		}
	}
	return nil
}

// isOK reports whether a field section begins with ":status: 200", entry 8 of the static
// table (RFC 7541 appendix A), behind changes of the table's size.
func isOK(block []byte) bool {
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		if block[0]&0x1f == 0x1f {
			for block = block[1:]; len(block) > 0 && block[0]&0x80 != 0; block = block[1:] {
			}
		}
		block = block[min(1, len(block)):]
	}
	return len(block) > 0 && block[0] == 0x88
}

func (c *h2Client) close() { c.conn.Close() }

// dialAskH2 opens a connection, asks once and closes it.
func dialAskH2(addr, path string, limit time.Duration) error {
	c, err := dialH2(addr, limit, h2FirstWindow, 0)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.ask(path, limit, h2FirstWindow)
	return err
}
