package dispatch

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// setRequestID makes sure of an x-request-id: a client's is kept inside the mesh, and at the edge only when so configured.
func (d *Dispatcher) setRequestID(x *exchange.Exchange, edge bool) {
	c := d.cfg
	h := &x.Request.Header
	if c.GenerateID && (!h.HasKnown(message.XRequestID) || edge && !c.PreserveID) {
		var id [36]byte
		newUUID(&id)
		h.SetKnownBytes(message.XRequestID, id[:])
	}
	x.Record.RequestID = h.Known(message.XRequestID)
}

// newUUID writes a random UUID (RFC 9562 version 4).
func newUUID(dst *[36]byte) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	hex.Encode(dst[0:8], b[0:4])
	hex.Encode(dst[9:13], b[4:6])
	hex.Encode(dst[14:18], b[6:8])
	hex.Encode(dst[19:23], b[8:10])
	hex.Encode(dst[24:36], b[10:16])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}
