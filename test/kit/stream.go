package kit

import (
	"errors"
	"io"
	"strconv"
)

// A Stream is one end of an exchange, the client's or the upstream's, in any protocol. Its sending methods are for one goroutine, its
// reading ones for another; each gives up after the lab's patience.
type Stream interface {
	// SendHead sends the request's head, or one of a response, and with end the message's end. A message that goes on has the
	// length that a content-length field says, or none.
	SendHead(h Head, end bool) error
	// Send sends a part of the body, and with end the message's end.
	Send(b []byte, end bool) error
	// SendTrailer ends the message with trailers. HTTP/1 can only do so where the head had no content-length.
	SendTrailer(fields ...Field) error
	// Reset breaks the exchange off: with RST_STREAM and CANCEL, or with a reset of the connection.
	Reset() error
	// Head reads the peer's next head: for a client those of informational responses come first.
	Head() (*Head, error)
	// Chunk reads the next bytes of the peer's body; io.EOF at the end of the message, any other error where it breaks off.
	Chunk() ([]byte, error)
	// Trailer is what the peer's message ended with, after io.EOF.
	Trailer() []Field
	// Gone waits until the peer has broken the exchange off or, in HTTP/1, closed the connection.
	Gone() error
}

// A Client is a client's connection to Weft, which is closed when the test ends.
type Client interface {
	// Open begins an exchange with this head. HTTP/1 has one at a time.
	Open(h Head, end bool) (Stream, error)
	// Close closes the connection in order, Reset breaks it off.
	Close() error
	Reset() error
}

// Client connects to the listener "main".
func (l *Lab) Client(p Proto) Client {
	l.t.Helper()
	c, err := l.Connect(p)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// Connect is Client for any goroutine.
func (l *Lab) Connect(p Proto) (Client, error) {
	if p == HTTP2 {
		return l.connectH2("main", H2Options{})
	}
	peer, err := l.connect("main")
	return &h1Client{Peer: peer}, err
}

// Body reads the rest of the peer's message.
func Body(s Stream) ([]byte, error) {
	var all []byte
	for {
		b, err := s.Chunk()
		all = append(all, b...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// ReadExactly reads n bytes of the peer's body, and fails when its chunks end elsewhere.
func ReadExactly(s Stream, n int) ([]byte, error) {
	var all []byte
	for len(all) < n {
		b, err := s.Chunk()
		all = append(all, b...)
		if err != nil {
			return all, err
		}
	}
	if len(all) > n {
		return all, errors.New("more than was expected")
	}
	return all, nil
}

// A Whole is a message from its head to its end.
type Whole struct {
	*Head

	Informed []*Head // the informational responses before it
	Body     []byte
	Trailer  []Field
	Err      error // why the body broke off
}

// Read reads the peer's message. An error means that not even its head came.
func Read(s Stream) (*Whole, error) {
	w := &Whole{}
	for {
		h, err := s.Head()
		if err != nil {
			return nil, err
		}
		if h.Status == 0 || h.Status >= 200 {
			w.Head = h
			break
		}
		w.Informed = append(w.Informed, h)
	}
	w.Body, w.Err = Body(s)
	w.Trailer = s.Trailer()
	return w, nil
}

// Respond sends a response of known length.
func Respond(s Stream, status int, body string, fields ...Field) error {
	h := Head{Status: status, Fields: append(F("content-length", strconv.Itoa(len(body))), fields...)}
	if err := s.SendHead(h, body == ""); err != nil || body == "" {
		return err
	}
	return s.Send([]byte(body), true)
}
