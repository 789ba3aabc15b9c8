package tcp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/weftproxy/weft/transport"
)

// staleAfter is how long a socket file may take to accept a connection before it is taken for a left-over.
const staleAfter = time.Second

// listenUnix listens on a unix socket. A socket file that nobody listens on any more is replaced; the file is removed when the
// listener is closed.
func listenUnix(ctx context.Context, o transport.ListenOptions) (net.Listener, error) {
	abstract := strings.HasPrefix(o.Address, "@")
	if abstract && o.Mode != 0 {
		return nil, fmt.Errorf("listen unix %s: an abstract socket has no mode", o.Address)
	}
	lc := net.ListenConfig{Control: o.Control}
	ln, err := lc.Listen(ctx, "unix", o.Address)
	if errors.Is(err, syscall.EADDRINUSE) && !abstract {
		if gone := removeStale(ctx, o.Address); gone != nil {
			return nil, fmt.Errorf("listen unix %s: %w", o.Address, gone)
		}
		ln, err = lc.Listen(ctx, "unix", o.Address)
	}
	if err != nil {
		return nil, err
	}
	if o.Mode != 0 {
		if err := os.Chmod(o.Address, fs.FileMode(o.Mode)&fs.ModePerm); err != nil {
			_ = ln.Close() // the error to tell is the other
			return nil, fmt.Errorf("listen unix %s: %w", o.Address, err)
		}
	}
	if err := setBacklog(ln, o.Backlog); err != nil {
		_ = ln.Close() // the error to tell is the other
		return nil, fmt.Errorf("listen unix %s: backlog %d: %w", o.Address, o.Backlog, err)
	}
	return ln, nil
}

// removeStale removes a socket file that refuses connections. Anything else at that path stays.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("the path exists and is not a socket")
	}
	d := net.Dialer{Timeout: staleAfter}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // it was only to see who is there
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
