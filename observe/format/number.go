package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/observe"
)

// number defines an operator that prints a number.
func number(get func(e *observe.Entry) (uint64, bool)) definition {
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runNumber, kind: kindNumber, number: get}, nil
	}}
}

func runNumber(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	n, ok := o.number(e)
	return strconv.AppendUint(dst, n, 10), ok
}

// counter defines an operator that prints a field of the record, which is 0 when there is none.
func counter(get func(r *observe.Record) uint64) definition {
	return number(func(e *observe.Entry) (uint64, bool) {
		if e.Record == nil {
			return 0, true
		}
		return get(e.Record), true
	})
}

// numberOperators print counts. Immutable.
var numberOperators = map[string]definition{
	"RESPONSE_CODE":                    counter(func(r *observe.Record) uint64 { return uint64(r.Status) }),
	"BYTES_RECEIVED":                   counter(func(r *observe.Record) uint64 { return r.BytesIn }),
	"BYTES_SENT":                       counter(func(r *observe.Record) uint64 { return r.BytesOut }),
	"UPSTREAM_WIRE_BYTES_RECEIVED":     counter(func(r *observe.Record) uint64 { return r.UpstreamWireIn }),
	"UPSTREAM_WIRE_BYTES_SENT":         counter(func(r *observe.Record) uint64 { return r.UpstreamWireOut }),
	"UPSTREAM_HEADER_BYTES_RECEIVED":   counter(func(r *observe.Record) uint64 { return r.UpstreamHeadIn }),
	"UPSTREAM_HEADER_BYTES_SENT":       counter(func(r *observe.Record) uint64 { return r.UpstreamHeadOut }),
	"DOWNSTREAM_WIRE_BYTES_RECEIVED":   counter(func(r *observe.Record) uint64 { return r.WireIn }),
	"DOWNSTREAM_WIRE_BYTES_SENT":       counter(func(r *observe.Record) uint64 { return r.WireOut }),
	"DOWNSTREAM_HEADER_BYTES_RECEIVED": counter(func(r *observe.Record) uint64 { return r.HeadIn }),
	"DOWNSTREAM_HEADER_BYTES_SENT":     counter(func(r *observe.Record) uint64 { return r.HeadOut }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":   counter(func(r *observe.Record) uint64 { return uint64(r.Attempts) }),
	"UPSTREAM_CONNECTION_ID":           counter(func(r *observe.Record) uint64 { return r.UpstreamConnID }),
	"CONNECTION_ID": number(func(e *observe.Entry) (uint64, bool) {
		if e.Conn == nil {
			return 0, true
		}
		return e.Conn.ID, true
	}),
}

// A moment is a point in time of a record; 0 has not happened.
type moment func(r *observe.Record) int64

func began(r *observe.Record) int64         { return r.Start }
func requestDone(r *observe.Record) int64   { return r.RequestDone }
func upstreamBegan(r *observe.Record) int64 { return r.UpstreamBegan }
func upstreamSent(r *observe.Record) int64  { return r.UpstreamSent }
func upstreamFirst(r *observe.Record) int64 { return r.UpstreamFirst }
func upstreamDone(r *observe.Record) int64  { return r.UpstreamDone }
func firstSent(r *observe.Record) int64     { return r.FirstSent }
func done(r *observe.Record) int64          { return r.Done }

// now is the end of an exchange, or the present while it lasts.
func now(r *observe.Record) int64 {
	if r.Done != 0 {
		return r.Done
	}
	return scope.Now()
}

// moments are the names that %COMMON_DURATION% knows. Immutable.
var moments = map[string]moment{"DS_RX_BEG": began, "DS_RX_END": requestDone, "US_TX_BEG": upstreamBegan, "US_TX_END": upstreamSent,
	"US_RX_BEG": upstreamFirst, "US_RX_END": upstreamDone, "DS_TX_BEG": firstSent, "DS_TX_END": done}

// timeOperators print durations and points in time. Immutable.
var timeOperators = map[string]definition{
	"DURATION":                      duration(began, now),
	"REQUEST_DURATION":              duration(began, requestDone),
	"REQUEST_TX_DURATION":           duration(began, upstreamSent),
	"RESPONSE_DURATION":             duration(began, upstreamFirst),
	"RESPONSE_TX_DURATION":          duration(upstreamFirst, done),
	"DOWNSTREAM_HANDSHAKE_DURATION": {noArgs, compileHandshake},
	"COMMON_DURATION":               {needArgs, compileCommonDuration},
	"START_TIME":                    clock(startTime, time.UTC),
	"START_TIME_LOCAL":              clock(startTime, time.Local),
	"EMIT_TIME":                     clock(emitTime, time.UTC),
	"EMIT_TIME_LOCAL":               clock(emitTime, time.Local),
}

func duration(from, to moment) definition {
	return definition{noArgs, func(command, Options) (*operator, error) {
		return &operator{run: runDuration, kind: kindNumber, span: [2]moment{from, to}, unit: time.Millisecond}, nil
	}}
}

func runDuration(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	if e.Record == nil {
		return dst, false
	}
	from, to := o.span[0](e.Record), o.span[1](e.Record)
	if from == 0 || to < from {
		return dst, false
	}
	return strconv.AppendInt(dst, (to-from)/int64(o.unit), 10), true
}

// compileHandshake prints how long it took from the beginning of the connection to the end of its handshake. As in Envoy that is known of
// TCP connections only, not of exchanges on one.
func compileHandshake(command, Options) (*operator, error) {
	return &operator{kind: kindNumber, run: func(_ *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
		if e.Conn == nil || e.Conn.HandshakeDuration == 0 || e.Record != nil && e.Record.Protocol != "" {
			return dst, false
		}
		return strconv.AppendInt(dst, e.Conn.HandshakeDuration.Milliseconds(), 10), true
	}}, nil
}

func compileCommonDuration(c command, _ Options) (*operator, error) {
	args := strings.Split(c.args, ":")
	if len(args) < 2 || len(args) > 3 {
		return nil, errors.New("takes START:END or START:END:PRECISION")
	}
	op := &operator{run: runDuration, kind: kindNumber, unit: time.Millisecond}
	for i, name := range args[:2] {
		if op.span[i] = moments[name]; op.span[i] == nil {
			return nil, fmt.Errorf("the point in time %q is not measured", name)
		}
	}
	if len(args) == 3 {
		switch args[2] {
		case "ms":
		case "us":
			op.unit = time.Microsecond
		case "ns":
			op.unit = time.Nanosecond
		default:
			return nil, errors.New("the precision must be ms, us or ns")
		}
	}
	return op, nil
}
