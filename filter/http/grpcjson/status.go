package grpcjson

import (
	"encoding/base64"
	"strings"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// statusDetails is the field with a google.rpc.Status in base64.
const statusDetails = "grpc-status-details-bin"

// statusJSON returns the google.rpc.Status of an error as JSON: the one in the details, or one made of status and message. It reports
// false when the configuration does not ask for it (convert_grpc_status), there is no error, or a detail is of an unknown type.
func (f *Filter) statusJSON(s status, h *message.Header) ([]byte, bool) {
	if !f.convertStatus || !s.valid || s.code == uint64(grpc.OK) {
		return nil, false
	}
	st, ok := detailsOf(h)
	if !ok {
		st = &statuspb.Status{Code: int32(s.code), Message: strings.ToValidUTF8(grpc.DecodeMessage(h.Known(message.GRPCMessage)), "\uFFFD")}
	}
	text, err := f.write.message(st)
	return text, err == nil
}

// detailsOf reads the details of an error.
func detailsOf(h *message.Header) (*statuspb.Status, bool) {
	v := strings.TrimRight(h.Get(statusDetails), "=")
	if v == "" {
		return nil, false
	}
	b, err := base64.RawStdEncoding.DecodeString(v)
	if err != nil {
		return nil, false
	}
	var st statuspb.Status
	if proto.Unmarshal(b, &st) != nil {
		return nil, false
	}
	return &st, true
}
