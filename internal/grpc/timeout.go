package grpc

import (
	"strconv"
	"time"
)

// AppendTimeout appends a duration as grpc-timeout carries it: in milliseconds or, where eight digits do not hold them, in the next unit
// that does, parts of which are cut off. What no unit holds becomes the longest.
func AppendTimeout(dst []byte, d time.Duration) []byte {
	n, unit := max(d.Milliseconds(), 0), byte('m')
	for _, next := range [...]struct {
		unit byte
		per  int64
	}{{'S', 1000}, {'M', 60}, {'H', 60}} {
		if n <= maxTimeout {
			break
		}
		n, unit = n/next.per, next.unit
	}
	return append(strconv.AppendInt(dst, min(n, maxTimeout), 10), unit)
}
