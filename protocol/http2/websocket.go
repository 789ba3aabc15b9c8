package http2

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"

	"github.com/weftproxy/weft/message"
)

// HTTP/1.1 proves with a key and its hash that both sides mean WebSocket (RFC 6455 section 4.2.2); HTTP/2 has :protocol instead (RFC 8441).
// Where an exchange crosses from one to the other the codec makes up what is missing.
const (
	secKey    = "sec-websocket-key"
	secAccept = "sec-websocket-accept"
	secGUID   = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// acceptWebSocket gives an extended CONNECT the key that an HTTP/1.1 upstream asks for.
func (st *serverStream) acceptWebSocket() {
	if !message.EqualFold(st.head.protocol, "websocket") || st.req.Header.Has(secKey) {
		return
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	st.req.Header.Add(secKey, base64.StdEncoding.EncodeToString(nonce[:]))
}

// accept returns what a server answers to a key.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + secGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}
