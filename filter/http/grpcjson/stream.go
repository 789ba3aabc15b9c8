package grpcjson

import (
	"io"

	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
)

// answerStream answers with messages as they come. The content type of raw bodies is that of the first one, so it waits for that.
func (c *call) answerStream(resp *message.Response) error {
	s := &responseStream{c: c, src: resp.Body, reader: grpc.NewReader(resp.Body, c.f.responseLimit), empty: true}
	if c.r.rawResponse {
		mime := jsonType
		first, err := s.raw(&mime)
		if err != nil && err != io.EOF {
			return err
		}
		setContentType(&resp.Header, mime)
		s.first = first
	} else {
		resp.Header.SetKnown(message.ContentType, c.f.write.contentType())
	}
	resp.Length = -1
	resp.Body = s
	return nil
}

// responseStream is the body of a streamed response: a chunk for each message.
type responseStream struct {
	c      *call
	src    message.Body
	reader *grpc.Reader
	first  []byte // raw data that was read ahead; borrowed from the reader
	out    []byte
	begun  bool  // a message has come
	empty  bool  // no part of the array was written
	ended  bool  // the messages are all there
	err    error // why it broke off
}

// Next implements message.Body.
func (s *responseStream) Next() ([]byte, error) {
	switch {
	case len(s.first) > 0:
		first := s.first
		s.first = nil
		return first, nil
	case s.err != nil:
		return nil, s.err
	case s.ended:
		return nil, io.EOF
	case s.c.r.rawResponse:
		return s.raw(nil)
	}
	msg, err := s.read()
	if err == io.EOF {
		return s.tail()
	}
	if err != nil {
		return nil, err
	}
	m, err := s.c.parse(msg)
	if err == nil {
		s.out, err = s.c.f.write.appendPart(s.out[:0], m, s.c.r.responseBody, s.empty)
	}
	if err != nil {
		return nil, s.fail(errResponse)
	}
	s.empty = false
	return s.out, nil
}

// raw returns the data of the next message that has any, and notes the content type of the first message in mime, where asked.
func (s *responseStream) raw(mime *string) ([]byte, error) {
	for {
		msg, err := s.read()
		if err == io.EOF {
			return s.tail()
		}
		if err != nil {
			return nil, err
		}
		data, kind, ok := findHTTPBody(msg, s.c.r.responseBody)
		if !ok {
			return nil, s.fail(errResponse)
		}
		if mime != nil && len(msg) > 0 {
			*mime = string(kind)
			return data, nil
		}
		if len(data) > 0 {
			return data, nil
		}
	}
}

// read returns the next message, io.EOF behind the last one.
func (s *responseStream) read() ([]byte, error) {
	flags, msg, err := s.reader.Next()
	switch {
	case err == io.EOF:
		s.ended = true
		return nil, err
	case err == grpc.ErrTooLarge, err == io.ErrUnexpectedEOF:
		return nil, s.fail(err)
	case err != nil:
		s.err = err
		return nil, err
	case flags&grpc.Compressed != 0:
		return nil, s.fail(errCompressed)
	}
	s.begun = true
	return msg, nil
}

func (s *responseStream) fail(err error) error {
	s.err = refuseResponse(err)
	return s.err
}

// tail is what follows the last message: the end of the array, or the status where there was no message and it is to be converted.
func (s *responseStream) tail() ([]byte, error) {
	if trailer := s.src.Trailer(); !s.begun && trailer != nil {
		if text, ok := s.c.f.statusJSON(statusOf(trailer), trailer); ok {
			return text, nil
		}
	}
	if end := s.c.f.write.end(s.empty); end != "" && !s.c.r.rawResponse {
		s.out = append(s.out[:0], end...)
		return s.out, nil
	}
	return nil, io.EOF
}

// Ready implements message.Body. It is false while messages may come, so that each goes out at once.
func (s *responseStream) Ready() bool { return s.ended }

// Trailer implements message.Body: the upstream's trailers, with the status, go on to the client.
func (s *responseStream) Trailer() *message.Header {
	if !s.ended {
		return nil
	}
	return s.src.Trailer()
}

// Close implements message.Body.
func (s *responseStream) Close(cause error) { s.src.Close(cause) }
