package demo

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// acceptGUID is what RFC 6455 section 1.3 appends to the key.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

const (
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// maxFrame bounds what one frame may hold.
const maxFrame = 1 << 20

// websocket upgrades the connection and sends each frame back (RFC 6455).
func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("sec-websocket-key")
	if !strings.EqualFold(r.Header.Get("upgrade"), "websocket") || key == "" {
		w.Header().Set("upgrade", "websocket")
		http.Error(w, "connect with a WebSocket client", http.StatusUpgradeRequired)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer s.closeWith(c)()
	sum := sha1.Sum([]byte(key + acceptGUID))
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for err = rw.Flush(); err == nil; {
		err = echoFrame(rw)
	}
}

// closeWith closes a hijacked connection, which http.Server forgets, when the server closes, or when the returned function is
// called, which waits for the goroutine.
func (s *Server) closeWith(c net.Conn) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with either channel
		defer close(done)
		select {
		case <-stop:
		case <-s.closing:
		}
		_ = c.Close() // nothing is lost: every frame was flushed
	}()
	return func() {
		close(stop)
		<-done
	}
}

var errClosed = errors.New("closed by the peer")

// echoFrame reads one frame and answers it.
func echoFrame(rw *bufio.ReadWriter) error {
	var head [2]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	size, err := frameSize(rw.Reader, head[1]&0x7f)
	if err != nil {
		return err
	}
	if head[1]&0x80 == 0 || size > maxFrame {
		return errors.New("not a frame of a client, or too large")
	}
	var mask [4]byte
	if _, err := io.ReadFull(rw, mask[:]); err != nil {
		return err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	op := head[0] & 0x0f
	switch op {
	case opPing:
		head[0] = head[0]&0xf0 | opPong
	case opPong:
		return nil
	}
	if err := writeFrame(rw.Writer, head[0], body); err != nil {
		return err
	}
	if op == opClose {
		return errClosed
	}
	return nil
}

// frameSize reads the rest of a payload length (RFC 6455 section 5.2).
func frameSize(r *bufio.Reader, short byte) (uint64, error) {
	var long [8]byte
	switch short {
	case 126:
		_, err := io.ReadFull(r, long[:2])
		return uint64(binary.BigEndian.Uint16(long[:])), err
	case 127:
		_, err := io.ReadFull(r, long[:])
		return binary.BigEndian.Uint64(long[:]), err
	}
	return uint64(short), nil
}

func writeFrame(w *bufio.Writer, first byte, body []byte) error {
	head := []byte{first}
	switch n := len(body); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	if _, err := w.Write(head); err != nil { // kept by w: Flush reports it too
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Flush()
}

// streams knows the handlers that run, so that Close can wait for them: http.Server.Close does not.
type streams struct{ running sync.RWMutex }

func (s *streams) track(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.running.RLock()
		defer s.running.RUnlock()
		serve(w, r)
	}
}

// wait returns when every handler that was running has returned.
func (s *streams) wait() {
	s.running.Lock()
	defer s.running.Unlock()
}
