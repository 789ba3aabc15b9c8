package e2e

import (
	bytesof "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// writeMessage and readMessage frame messages as gRPC does.
func writeMessage(w io.Writer, text string) error {
	_, err := w.Write(append(bytesof.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...))
	return err
}

func readMessage(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	text := make([]byte, bytesof.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// An echoer is a gRPC service on net/http that sends each message back.
type echoer struct{ streams, messages, broken atomic.Int64 }

func (e *echoer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.streams.Add(1)
	w.Header().Set("content-type", "application/grpc")
	w.Header().Set("trailer", "grpc-status")
	_ = http.NewResponseController(w).Flush() // an error is the next call's, too
	for {
		text, err := readMessage(r.Body)
		if errors.Is(err, io.EOF) {
			w.Header().Set("grpc-status", "0")
			return
		}
		if err == nil {
			e.messages.Add(1)
			err = writeMessage(w, text)
		}
		if err == nil {
			err = http.NewResponseController(w).Flush()
		}
		if err != nil {
			e.broken.Add(1)
			return
		}
	}
}

// A call is a bidirectional stream of a client.
type call struct {
	resp *http.Response
	send *io.PipeWriter
}

// open begins a call to the service at base, which has a scheme.
func open(t *testing.T, c *http.Client, base string) *call {
	t.Helper()
	body, send := io.Pipe()
	r, err := http.NewRequest(http.MethodPost, base+"/pkg.Service/Chat", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("content-type", "application/grpc")
	r.Header.Set("te", "trailers")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // read to its end where the test passes
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return &call{resp, send}
}

// exchange sends a message and expects it back, within a time.
func (c *call) exchange(text string, within time.Duration) error {
	begin := time.Now()
	if err := writeMessage(c.send, text); err != nil {
		return err
	}
	got, err := readMessage(c.resp.Body)
	if err == nil && got != text {
		err = fmt.Errorf("%q came back as %q", text, got)
	}
	if took := time.Since(begin); err == nil && took >= within {
		err = fmt.Errorf("%q took %v there and back", text, took)
	}
	return err
}

// end ends the call in order.
func (c *call) end() error {
	if err := c.send.Close(); err != nil {
		return err
	}
	rest, err := io.ReadAll(c.resp.Body)
	if err == nil && (len(rest) > 0 || c.resp.Trailer.Get("grpc-status") != "0") {
		err = fmt.Errorf("the stream ends with %q and trailers %v", rest, c.resp.Trailer)
	}
	return err
}
