package grpcjson

import (
	"errors"
	"io"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// answer makes JSON of a gRPC response. Other responses, and Weft's own, stay as they are. After an error the response is useless.
func (c *call) answer(resp *message.Response) error {
	h := &resp.Header
	if resp.Local != nil || resp.Tunnel || !grpc.IsResponse(resp.Status, h, resp.Length == 0) {
		return nil
	}
	h.DelKnown(message.ContentLength)
	resp.Native = nil
	switch {
	case h.HasKnown(message.GRPCStatus): // what should be trailers is in the head: there is nothing else
		return c.answerTrailers(resp)
	case c.r.serverStreams:
		return c.answerStream(resp)
	}
	return c.answerMessage(resp)
}

// answerTrailers answers with the status alone.
func (c *call) answerTrailers(resp *message.Response) error {
	h := &resp.Header
	status := statusOf(h)
	if c.r.serverStreams {
		h.SetKnown(message.ContentType, c.f.write.contentType())
	}
	text := []byte(nil)
	if converted, ok := c.f.statusJSON(status, h); ok {
		text = converted
		h.DelKnown(message.GRPCStatus)
		h.DelKnown(message.GRPCMessage)
		h.Del(statusDetails)
		h.SetKnown(message.ContentType, jsonType)
	} else if c.r.serverStreams && !c.r.rawResponse {
		text = []byte(c.f.write.end(true))
	}
	c.finish(resp, status, text)
	return nil
}

// answerMessage gathers a response of one message: what the HTTP status is, only the trailers say.
func (c *call) answerMessage(resp *message.Response) error {
	h := &resp.Header
	reader := grpc.NewReader(resp.Body, c.f.responseLimit)
	var text []byte
	mime, found := jsonType, false
	for {
		flags, msg, err := reader.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, grpc.ErrTooLarge) || errors.Is(err, io.ErrUnexpectedEOF) {
			return refuseResponse(err)
		}
		if err != nil {
			return err
		}
		switch {
		case found:
			continue // one message is all that the method's type allows
		case flags&grpc.Compressed != 0:
			return refuseResponse(errCompressed)
		case c.r.rawResponse && len(msg) == 0:
			continue
		}
		found = true
		if text, mime, err = c.translate(msg); err != nil {
			return refuseResponse(err)
		}
		if len(text) > c.f.responseLimit {
			return refuseResponse(errResponseTooLarge)
		}
		c.stats.ResponseBuffer.Add(int64(len(text)))
		defer c.stats.ResponseBuffer.Add(-int64(len(text)))
	}
	trailer := resp.Body.Trailer()
	if trailer == nil {
		trailer = &message.Header{}
	}
	status := statusOf(trailer)
	if !found {
		if converted, ok := c.f.statusJSON(status, trailer); ok {
			h.SetKnown(message.ContentType, jsonType)
			c.finish(resp, status, converted)
			return nil
		}
	}
	setContentType(h, mime)
	if status.valid {
		h.SetKnown(message.GRPCStatus, status.text())
	}
	if v, ok := trailer.Lookup(message.GRPCMessage.String()); ok {
		h.SetKnown(message.GRPCMessage, v)
	}
	c.finish(resp, status, text)
	return nil
}

// finish gives the response its status and its whole body.
func (c *call) finish(resp *message.Response, s status, text []byte) {
	resp.Status = s.http()
	resp.Header.DelKnown(message.Trailer)
	resp.Length = int64(len(text))
	resp.Body = &answered{Bytes: *message.NewBytes(text), src: resp.Body}
}

// translate makes of a message's bytes what a client gets for it, and its content type.
func (c *call) translate(msg []byte) (text []byte, mime string, err error) {
	if c.r.rawResponse {
		data, mime, ok := findHTTPBody(msg, c.r.responseBody)
		if !ok {
			return nil, "", errResponse
		}
		return append([]byte(nil), data...), string(mime), nil
	}
	m, err := c.parse(msg)
	if err != nil {
		return nil, "", err
	}
	if text, err = c.f.write.whole(m, c.r.responseBody); err != nil {
		return nil, "", errResponse
	}
	return text, jsonType, nil
}

// parse reads a message of the method's response.
func (c *call) parse(msg []byte) (*dynamicpb.Message, error) {
	m := dynamicpb.NewMessage(c.r.output)
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: c.f.types}).Unmarshal(msg, m); err != nil {
		return nil, errResponse
	}
	return m, nil
}

func setContentType(h *message.Header, mime string) {
	if mime == "" {
		h.DelKnown(message.ContentType)
		return
	}
	h.SetKnown(message.ContentType, mime)
}

// findHTTPBody finds data and content type of the google.api.HttpBody that path leads to in a message. Both are part of msg.
func findHTTPBody(msg []byte, path fieldPath) (data, mime []byte, ok bool) {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return nil, nil, false
		}
		msg = msg[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, msg); n < 0 {
				return nil, nil, false
			}
			msg = msg[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(msg)
		if n < 0 {
			return nil, nil, false
		}
		msg = msg[n:]
		switch {
		case len(path) > 0 && num == path[0].Number():
			d, m, ok := findHTTPBody(v, path[1:])
			if !ok {
				return nil, nil, false
			}
			if d != nil {
				data = d
			}
			if m != nil {
				mime = m
			}
		case len(path) == 0 && num == bodyData:
			data = v
		case len(path) == 0 && num == bodyContentType:
			mime = v
		}
	}
	return data, mime, true
}

// answered is the body of a response that was gathered. The upstream's body stays open behind it until it is closed.
type answered struct {
	message.Bytes
	src message.Body
}

// Close implements message.Body.
func (a *answered) Close(cause error) {
	a.Bytes.Close(cause)
	a.src.Close(cause)
}

// A status is what grpc-status says.
type status struct {
	code  uint64
	valid bool // there is one, and it is a number
}

// statusOf reads the grpc-status of trailers, or of a head that is trailers as well. Codes above the known ones are the service's own.
func statusOf(h *message.Header) status {
	n, err := strconv.ParseUint(h.Known(message.GRPCStatus), 10, 32)
	return status{n, err == nil}
}

// http is the HTTP status that stands for it; 503 where there is none, as in Envoy.
func (s status) http() int {
	switch {
	case !s.valid:
		return 503
	case s.code >= uint64(grpc.Count):
		return 500
	}
	return grpc.ToHTTP(grpc.Status(s.code))
}

func (s status) text() string { return strconv.FormatUint(s.code, 10) }
