package tcp

import (
	"errors"
	"syscall"
	"time"
)

// SocketOptions are set on a socket before it is bound or connected. They are for Control functions.
type SocketOptions struct {
	Freebind          bool // IP_FREEBIND
	KeepAlive         bool
	KeepAliveProbes   int           // 0: the system's, as for the two below
	KeepAliveIdle     time.Duration // before the first probe, in whole seconds
	KeepAliveInterval time.Duration // between probes, in whole seconds
	Raw               []RawOption
}

// A RawOption is one setsockopt(2).
type RawOption struct {
	Level, Name, Int int
	Buf              []byte // instead of Int, when not empty
	Only             string // "tcp4" or "tcp6": for sockets of this network only
}

// Empty reports whether there is nothing to set.
func (o *SocketOptions) Empty() bool { return !o.Freebind && !o.KeepAlive && len(o.Raw) == 0 }

// Apply sets the options on a socket of the given network: "tcp4", "tcp6" or "unix".
func (o *SocketOptions) Apply(network string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = o.apply(network, int(fd)) })
	return errors.Join(err, failed)
}
