package format

import (
	"errors"
	"strconv"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

// The forms of %GRPC_STATUS(X)%.
const (
	grpcCamel uint8 = iota
	grpcSnake
	grpcNumber
)

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
	if code < uint64(grpc.Count) {
		switch o.flags {
		case grpcCamel:
			return append(dst, grpc.Status(code).String()...), true
		case grpcSnake:
			return append(dst, grpc.Status(code).Snake()...), true
		}
	}
	return strconv.AppendUint(dst, code, 10), true
}

// GRPCStatus returns the gRPC status of an exchange whose request was gRPC: from the trailers, else from the response head, else what
// the HTTP status stands for.
func GRPCStatus(e *observe.Entry) (uint64, bool) {
	if e.Request == nil || !grpc.IsRequest(&e.Request.Header) {
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
	return uint64(grpc.FromHTTP(e.Record.Status)), true
}
