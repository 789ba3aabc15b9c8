package grpcjson

import (
	"encoding/binary"
	"io"
	"strings"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// A call is one request that is transcoded. The values of its bindings are borrowed from the request.
type call struct {
	f        *Filter
	r        *rule
	bindings []binding                        // for the first message
	unknown  *transcoderv3.UnknownQueryParams // captured; nil: none
	mime     string                           // of the body that becomes a google.api.HttpBody
	begun    bool                             // the first message was made
	stats    *Stats
}

// match finds the rule for a request and gathers the values in its path and query. It returns nil when the request passes untouched.
func (f *Filter) match(req *message.Request) (*call, error) {
	path, query, _ := strings.Cut(req.Path, "?")
	r, trimmed := f.paths.find(req.Method, path)
	if r == nil {
		if f.rejectUnknownMethod {
			return nil, refuse(errNoMethod, failedEarly)
		}
		return nil, nil
	}
	c := &call{f: f, r: r}
	if !c.bindPath(trimmed) || !c.bindQuery(query) {
		if f.rejectUnknownQuery {
			return nil, refuse(errNoField, failedEarly)
		}
		return nil, nil
	}
	return c, nil
}

// bindPath takes the values of the path's variables.
func (c *call) bindPath(trimmed string) bool {
	if len(c.r.vars) == 0 {
		return true
	}
	var segments []string
	if trimmed != "" {
		segments = strings.Split(trimmed, "/")
	}
	for i := range c.r.vars {
		v := &c.r.vars[i]
		if !c.take(v.field, strings.Join(v.names, "."), v.value(segments, c.f.unescape)) {
			return false
		}
	}
	return true
}

// bindQuery takes the values of the query: parameters with a name and a '=', but for those to be ignored.
func (c *call) bindQuery(query string) bool {
	for query != "" {
		var parameter string
		parameter, query, _ = strings.Cut(query, "&")
		name, value, ok := strings.Cut(parameter, "=")
		if !ok || name == "" || c.f.ignored[name] {
			continue
		}
		field, _ := resolve(c.r.input, strings.Split(name, "."))
		if !c.take(field, name, unescape(value, everything, c.f.plus)) {
			return false
		}
	}
	return true
}

// take keeps a value for a field; field is nil when there is no such one. It reports false when that is not allowed.
func (c *call) take(field fieldPath, name, value string) bool {
	switch {
	case field != nil:
		// What is inside a google.api.HttpBody comes from the body alone.
		if !c.r.raw || !field.below(c.r.body) {
			c.bindings = append(c.bindings, binding{field, value})
		}
	case c.f.captureUnknown:
		if c.unknown == nil {
			c.unknown = &transcoderv3.UnknownQueryParams{Key: map[string]*transcoderv3.UnknownQueryParams_Values{}}
		}
		values := c.unknown.Key[name]
		if values == nil {
			values = &transcoderv3.UnknownQueryParams_Values{}
			c.unknown.Key[strings.Clone(name)] = values
		}
		values.Values = append(values.Values, strings.ToValidUTF8(value, "\uFFFD"))
	default:
		return c.f.ignoreUnknown
	}
	return true
}

// appendMessage appends the frame of a message made of a JSON value, nil for none, and of the bindings where it is the first.
func (c *call) appendMessage(dst, value []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(c.r.input)
	if value != nil {
		if err := c.decode(m, value); err != nil {
			return nil, err
		}
	}
	if !c.begun {
		c.begun = true
		if err := bind(m, c.bindings, c.f.rejectCollisions, c.f.foldEnums); err != nil {
			return nil, err
		}
	}
	begin := len(dst)
	dst, err := merge(grpc.AppendFrameHeader(dst, 0, 0), m)
	if err != nil {
		return nil, errBody
	}
	return sealFrame(dst, begin), nil
}

// decode reads a JSON value into m, or into the field of it that the body is.
func (c *call) decode(m *dynamicpb.Message, value []byte) error {
	if len(c.r.body) > 0 {
		n := len(value)
		for _, fd := range c.r.body {
			n += len(fd.Name()) + len(`{"":}`)
		}
		wrapped := make([]byte, 0, n)
		for _, fd := range c.r.body {
			wrapped = append(append(append(wrapped, `{"`...), fd.Name()...), `":`...)
		}
		wrapped = append(wrapped, value...)
		for range c.r.body {
			wrapped = append(wrapped, '}')
		}
		value = wrapped
	}
	if c.r.enums {
		settled, err := c.f.enums.settle(value, c.r.input, c.f.foldEnums)
		if err != nil {
			return err
		}
		value = settled
	}
	if err := c.f.read.Unmarshal(value, m); err != nil {
		return errBody
	}
	return nil
}

// The fields of google.api.HttpBody.
const (
	bodyContentType = 1
	bodyData        = 2
	bodyExtensions  = 3
)

// appendRaw appends the frame of a message whose google.api.HttpBody holds data. Content type, bindings and what was captured go with
// the first message.
func (c *call) appendRaw(dst, data []byte) ([]byte, error) {
	begin := len(dst)
	dst = grpc.AppendFrameHeader(dst, 0, 0)
	var head []byte
	if !c.begun {
		c.begun = true
		m := dynamicpb.NewMessage(c.r.input)
		if err := bind(m, c.bindings, false, c.f.foldEnums); err != nil {
			return nil, err
		}
		var err error
		if dst, err = merge(dst, m); err != nil {
			return nil, errBinding
		}
		if c.mime != "" {
			head = protowire.AppendString(protowire.AppendTag(nil, bodyContentType, protowire.BytesType), c.mime)
		}
		if c.unknown != nil {
			packed, err := anypb.New(c.unknown)
			if err != nil {
				return nil, errBinding
			}
			text, err := merge(nil, packed)
			if err != nil {
				return nil, errBinding
			}
			head = protowire.AppendBytes(protowire.AppendTag(head, bodyExtensions, protowire.BytesType), text)
		}
	}
	size := len(head)
	if len(data) > 0 {
		size += protowire.SizeTag(bodyData) + protowire.SizeBytes(len(data))
	}
	sizes := make([]int, len(c.r.body))
	for i := len(c.r.body) - 1; i >= 0; i-- {
		sizes[i] = size
		size = protowire.SizeTag(c.r.body[i].Number()) + protowire.SizeBytes(size)
	}
	for i, fd := range c.r.body {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, fd.Number(), protowire.BytesType), uint64(sizes[i]))
	}
	dst = append(dst, head...)
	if len(data) > 0 {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, bodyData, protowire.BytesType), data)
	}
	return sealFrame(dst, begin), nil
}

// sealFrame puts the length into the header of the frame that begins at begin and ends with dst.
func sealFrame(dst []byte, begin int) []byte {
	binary.BigEndian.PutUint32(dst[begin+1:], uint32(len(dst)-begin-grpc.FrameHeaderLen))
	return dst
}

// requestBody reads what it must of the request's body and returns what goes upstream in its place, and its length, -1 when unknown.
// Requests of one message are gathered whole, so that what is wrong with them is found before there is an upstream.
func (c *call) requestBody(req *message.Request) (message.Body, int64, error) {
	switch {
	case c.r.clientStreams && c.r.raw:
		return &rawStream{requestStream{src: req.Body, c: c}}, -1, nil
	case c.r.clientStreams && c.r.hasBody:
		return &jsonStream{requestStream: requestStream{src: req.Body, c: c}, split: splitter{limit: c.f.requestLimit}}, -1, nil
	case !c.r.hasBody && !c.r.raw:
		frame, err := c.appendMessage(nil, nil)
		if err != nil {
			return nil, 0, refuse(err, failedEarly)
		}
		if req.Length == 0 {
			return &held{data: frame}, int64(len(frame)), nil
		}
		return &held{data: frame, src: req.Body}, -1, nil
	}
	details := failedLate
	if req.Length == 0 {
		details = failedEarly
	}
	data, err := c.gather(req.Body)
	if err != nil {
		return nil, 0, err
	}
	frame, err := c.appendWhole(data)
	c.stats.RequestBuffer.Add(-int64(len(data)))
	if err != nil {
		return nil, 0, refuse(err, details)
	}
	return &held{data: frame}, int64(len(frame)), nil
}

// appendWhole makes the only message of a body.
func (c *call) appendWhole(data []byte) ([]byte, error) {
	if c.r.raw {
		return c.appendRaw(nil, data)
	}
	split := splitter{limit: c.f.requestLimit, single: true}
	value, rest, err := split.next(data)
	if err != nil {
		return nil, err
	}
	if value != nil {
		_, _, err = split.next(rest)
	} else {
		value, err = split.finish()
	}
	if err != nil {
		return nil, err
	}
	return c.appendMessage(nil, value)
}

// gather reads a body to its end. What it returns is counted as buffered.
func (c *call) gather(body message.Body) ([]byte, error) {
	var all []byte
	for {
		p, err := body.Next()
		if err == io.EOF {
			return all, nil
		}
		if err == nil && len(all)+len(p) > c.f.requestLimit {
			err = errRequestTooLarge
		}
		if err != nil {
			c.stats.RequestBuffer.Add(-int64(len(all)))
			return nil, requestBroken(err)
		}
		all = append(all, p...)
		c.stats.RequestBuffer.Add(int64(len(p)))
	}
}
