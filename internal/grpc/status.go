package grpc

import "strconv"

// A Status is a gRPC status code.
type Status uint8

// The status codes, with their numbers on the wire.
const (
	OK Status = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
	statusCount
)

// Count is the number of known status codes: those below it.
const Count = int(statusCount)

// camel holds Envoy's names (CAMEL_STRING), snake those of SNAKE_STRING. Immutable.
var (
	camel = [statusCount]string{
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
		"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss",
		"Unauthenticated",
	}
	snake = [statusCount]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
		"UNAUTHENTICATED",
	}
	digits = [statusCount]string{
		"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
	}
)

// String returns Envoy's name of the status: "OK", "DeadlineExceeded"; the number for one that has no name.
func (s Status) String() string {
	if s < statusCount {
		return camel[s]
	}
	return strconv.Itoa(int(s))
}

// Snake returns the name in capitals: "OK", "DEADLINE_EXCEEDED"; the number for one that has no name.
func (s Status) Snake() string {
	if s < statusCount {
		return snake[s]
	}
	return strconv.Itoa(int(s))
}

// Number returns the status as grpc-status carries it. It allocates nothing for the known ones.
func (s Status) Number() string {
	if s < statusCount {
		return digits[s]
	}
	return strconv.Itoa(int(s))
}

// ParseStatus reads a grpc-status value. It returns Unknown and false for what is no number or none of the known codes.
func ParseStatus(v string) (Status, bool) {
	n := 0
	for i := 0; i < len(v); i++ {
		c := v[i] - '0'
		if c > 9 {
			return Unknown, false
		}
		if n = n*10 + int(c); n >= Count {
			return Unknown, false
		}
	}
	if v == "" {
		return Unknown, false
	}
	return Status(n), true
}

// FromHTTP returns the status that stands for an HTTP response that is no gRPC response (Envoy's httpToGrpcStatus).
func FromHTTP(status int) Status {
	switch status {
	case 400:
		return Internal
	case 401:
		return Unauthenticated
	case 403:
		return PermissionDenied
	case 404:
		return Unimplemented
	case 429, 502, 503, 504:
		return Unavailable
	}
	return Unknown
}

// ToHTTP returns the HTTP status that stands for a gRPC status (Envoy's grpcToHttpStatus); 500 for an unknown code.
func ToHTTP(s Status) int {
	switch s {
	case OK:
		return 200
	case Canceled:
		return 499
	case InvalidArgument, FailedPrecondition, OutOfRange:
		return 400
	case DeadlineExceeded:
		return 504
	case NotFound:
		return 404
	case AlreadyExists, Aborted:
		return 409
	case PermissionDenied:
		return 403
	case ResourceExhausted:
		return 429
	case Unimplemented:
		return 501
	case Unavailable:
		return 503
	case Unauthenticated:
		return 401
	}
	return 500
}
