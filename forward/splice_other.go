//go:build !linux

package forward

import "errors"

// splice says that this system has none.
func (l *tcpLane) splice() error { return errors.ErrUnsupported }
