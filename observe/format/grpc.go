package format

import (
	"errors"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// The forms of %GRPC_STATUS(X)%.
const (
	grpcCamel uint8 = iota
	grpcSnake
	grpcNumber
)

// grpcNames holds the names of status codes in both spellings. Immutable.
var grpcNames = [...][2]string{{"OK", "OK"}, {"Canceled", "CANCELLED"}, {"Unknown", "UNKNOWN"}, {"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"}, {"NotFound", "NOT_FOUND"}, {"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"}, {"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"}, {"Aborted", "ABORTED"}, {"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"}, {"Internal", "INTERNAL"}, {"Unavailable", "UNAVAILABLE"}, {"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"}}

func compileGRPCStatus(c command, _ Options) (*operator, error) {
	op := &operator{run: runGRPCStatus}
	switch c.args {
	case "", "CAMEL_STRING":
	case "SNAKE_STRING":
		op.flags = grpcSnake
	case "NUMBER":
		op.flags, op.kind = grpcNumber, kindNumber
	default:
		return nil, errors.New("the parameter must be CAMEL_STRING, SNAKE_STRING or NUMBER")
	}
	return op, nil
}

func compileGRPCNumber(command, Options) (*operator, error) {
	return &operator{run: runGRPCStatus, flags: grpcNumber, kind: kindNumber}, nil
}

func runGRPCStatus(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
	code, ok := GRPCStatus(e)
	if !ok {
		return dst, false
	}
	if o.flags != grpcNumber && code < uint64(len(grpcNames)) {
		return append(dst, grpcNames[code][o.flags]...), true
	}
	return strconv.AppendUint(dst, code, 10), true
}

// GRPCStatus returns the gRPC status of an exchange whose request was gRPC: from the trailers, else from the response head, else what
// the HTTP status stands for.
func GRPCStatus(e *observe.Entry) (uint64, bool) {
	if e.Request == nil || !isGRPC(e.Request.Header.Known(message.ContentType)) {
		return 0, false
	}
	return AnyGRPCStatus(e)
}

// AnyGRPCStatus is GRPCStatus whether or not the request was gRPC.
func AnyGRPCStatus(e *observe.Entry) (uint64, bool) {
	v := ""
	if e.Trailer != nil {
		v = e.Trailer.Known(message.GRPCStatus)
	}
	if v == "" && e.Response != nil {
		v = e.Response.Header.Known(message.GRPCStatus)
	}
	if v != "" {
		code, err := strconv.ParseUint(v, 10, 32)
		return code, err == nil
	}
	if e.Record == nil || e.Record.Status == 0 {
		return 0, false
	}
	return grpcOfHTTP(e.Record.Status), true
}

// grpcOfHTTP is the mapping of the gRPC over HTTP/2 specification.
func grpcOfHTTP(status int) uint64 {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

func isGRPC(contentType string) bool {
	const prefix = "application/grpc"
	if !strings.HasPrefix(contentType, prefix) {
		return false
	}
	return len(contentType) == len(prefix) || contentType[len(prefix)] == '+' || contentType[len(prefix)] == ';'
}
