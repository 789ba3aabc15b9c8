package grpcjson

import (
	"bytes"
	"encoding/json"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A printer writes messages as print_options says. Immutable.
type printer struct {
	messages protojson.MarshalOptions
	pretty   bool // add_whitespace, of responses that are one message
	stream   streamForm
}

// A streamForm is how messages of a stream are kept apart.
type streamForm uint8

const (
	array streamForm = iota
	lines
	events // server-sent events
)

func newPrinter(o *transcoderv3.GrpcJsonTranscoder_PrintOptions) printer {
	p := printer{pretty: o.GetAddWhitespace(), messages: protojson.MarshalOptions{
		AllowPartial: true, UseProtoNames: o.GetPreserveProtoFieldNames(), UseEnumNumbers: o.GetAlwaysPrintEnumsAsInts(),
		EmitDefaultValues: o.GetAlwaysPrintPrimitiveFields(),
	}}
	switch {
	case o.GetStreamSseStyleDelimited():
		p.stream = events
	case o.GetStreamNewlineDelimited():
		p.stream = lines
	}
	return p
}

// contentType is the type of a stream's responses.
func (p *printer) contentType() string {
	if p.stream == events {
		return "text/event-stream"
	}
	return jsonType
}

const jsonType = "application/json"

// append appends the JSON of m, or of the field of it that path leads to, on one line and without spaces: protojson's own use of space
// changes from build to build.
func (p *printer) append(dst []byte, m protoreflect.Message, path fieldPath) ([]byte, error) {
	begin := len(dst)
	var err error
	if len(path) == 0 {
		dst, err = p.messages.MarshalAppend(dst, m.Interface())
	} else {
		for _, fd := range path[:len(path)-1] {
			m = m.Get(fd).Message()
		}
		dst, err = p.appendField(dst, m, path.last())
	}
	if err != nil {
		return nil, err
	}
	return compact(dst, begin), nil
}

// appendField appends the JSON of one field of m.
func (p *printer) appendField(dst []byte, m protoreflect.Message, fd protoreflect.FieldDescriptor) ([]byte, error) {
	v := m.Get(fd)
	switch {
	case fd.IsList() && v.List().Len() == 0:
		return append(dst, "[]"...), nil
	case fd.IsMap() && v.Map().Len() == 0:
		return append(dst, "{}"...), nil
	case fd.Message() != nil && !fd.IsList() && !fd.IsMap():
		return p.messages.MarshalAppend(dst, v.Message().Interface())
	}
	only := m.New()
	only.Set(fd, v)
	o := p.messages
	o.UseProtoNames, o.EmitDefaultValues = true, o.EmitDefaultValues || !fd.IsList() && !fd.IsMap()
	text, err := o.Marshal(only.Interface())
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	return append(dst, fields[fd.TextName()]...), nil
}

// whole returns the response that is one message.
func (p *printer) whole(m protoreflect.Message, path fieldPath) ([]byte, error) {
	text, err := p.append(nil, m, path)
	if err != nil || !p.pretty {
		return text, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}

// appendPart appends the next message of a stream.
func (p *printer) appendPart(dst []byte, m protoreflect.Message, path fieldPath, first bool) (_ []byte, err error) {
	switch {
	case p.stream == events:
		dst = append(dst, "data: "...)
	case p.stream == array && first:
		dst = append(dst, '[')
	case p.stream == array:
		dst = append(dst, ',')
	}
	if dst, err = p.append(dst, m, path); err != nil {
		return nil, err
	}
	switch p.stream {
	case events:
		dst = append(dst, "\n\n"...)
	case lines:
		dst = append(dst, '\n')
	}
	return dst, nil
}

// end is what closes a stream.
func (p *printer) end(empty bool) string {
	switch {
	case p.stream != array:
		return ""
	case empty:
		return "[]"
	}
	return "]"
}

// message returns the JSON of a message that is not the method's, such as a status.
func (p *printer) message(m proto.Message) ([]byte, error) {
	text, err := p.messages.Marshal(m)
	if err != nil {
		return nil, err
	}
	return compact(text, 0), nil
}

// compact removes the space between the tokens of the JSON that begins at begin, in place.
func compact(b []byte, begin int) []byte {
	out, quoted := b[:begin], false
	for i := begin; i < len(b); i++ {
		c := b[i]
		switch {
		case quoted && c == '\\' && i+1 < len(b):
			out = append(out, c)
			i++
			c = b[i]
		case c == '"':
			quoted = !quoted
		case !quoted && isSpace(c):
			continue
		}
		out = append(out, c)
	}
	return out
}
