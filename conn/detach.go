package conn

import (
	"bytes"
	"errors"
	"os"
)

// Detach gives up the connection between messages: it returns a duplicate of its socket and the bytes that were read and not
// consumed. The Conn itself still has to be closed.
func (c *Conn) Detach() (fd *os.File, unread []byte, err error) {
	if c.layer != nil {
		return nil, nil, errors.ErrUnsupported // the layer's state would stay behind
	}
	f, ok := c.Conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, nil, errors.ErrUnsupported
	}
	if fd, err = f.File(); err != nil {
		return nil, nil, err
	}
	return fd, bytes.Clone(c.Buffered()), nil
}

// Unread puts bytes in front of what is buffered, as a new process does with what the old one had read.
func (c *Conn) Unread(b []byte) {
	if len(b) == 0 {
		return
	}
	rest := bytes.Clone(c.Buffered())
	c.r, c.w = 0, 0
	c.Grow(max(len(b)+len(rest), SmallBuffer))
	c.w = copy(c.buf, b)
	c.w += copy(c.buf[c.w:], rest)
}
