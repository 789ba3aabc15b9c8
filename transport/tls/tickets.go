package tls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"hash"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/transport/secret"
)

// A sessionContext is a digest of what a session depends on: the names of the server's certificates and how clients are verified. A session
// is resumed only under the same. Renewed certificates change nothing.
type sessionContext [16]byte

// newSessionContext digests what the sessions of one generation depend on.
func newSessionContext(certs []*certificate, v *verifier, required bool) sessionContext {
	h := sha256.New()
	for _, c := range certs {
		digestNames(h, c.pair)
	}
	if required {
		digest(h, []byte("required"))
	}
	if v != nil {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(v.of.Message)
		if err != nil {
			b = []byte(err.Error())
		}
		digest(h, b)
		for _, x := range v.of.Roots {
			digest(h, x.Raw)
		}
	}
	return sessionContext(h.Sum(nil))
}

// digestNames adds whom a certificate is for: all its names, or where it has none the certificate.
func digestNames(h hash.Hash, pair *secret.KeyPair) {
	leaf := pair.Certificate.Leaf
	for _, name := range pair.Names {
		digest(h, []byte(name))
	}
	for _, u := range leaf.URIs {
		digest(h, []byte(u.String()))
	}
	for _, ip := range leaf.IPAddresses {
		digest(h, ip)
	}
	if len(pair.Names)+len(leaf.URIs)+len(leaf.IPAddresses) == 0 {
		digest(h, leaf.Raw)
	}
}

// digest adds b with its length.
func digest(h hash.Hash, b []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b)))) // a hash never fails
	_, _ = h.Write(b)
}

// tickets wrap sessions into tickets and back. Safe for concurrent use.
type tickets struct {
	keys    *tls.Config // whose ticket keys are used
	context sessionContext
	timeout time.Duration // how long a ticket is good for
}

// ticketMark begins what is added to a session, see tls.SessionState.Extra.
const ticketMark = "weft1"

// wrap implements tls.Config.WrapSession.
func (t *tickets) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	b := make([]byte, 0, len(ticketMark)+len(t.context)+8)
	b = append(append(b, ticketMark...), t.context[:]...)
	ss.Extra = append(ss.Extra, binary.BigEndian.AppendUint64(b, uint64(time.Now().Unix())))
	return t.keys.EncryptTicket(cs, ss)
}

// unwrap implements tls.Config.UnwrapSession: no session where the ticket is of another context, or too old, which makes a full handshake.
func (t *tickets) unwrap(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	ss, err := t.keys.DecryptTicket(ticket, cs)
	if ss == nil || err != nil {
		return nil, err
	}
	for _, b := range ss.Extra {
		rest, ok := bytes.CutPrefix(b, []byte(ticketMark))
		if !ok || len(rest) != len(t.context)+8 || !bytes.Equal(rest[:len(t.context)], t.context[:]) {
			continue
		}
		issued := time.Unix(int64(binary.BigEndian.Uint64(rest[len(t.context):])), 0)
		if time.Since(issued) > t.timeout {
			return nil, nil
		}
		return ss, nil
	}
	return nil, nil
}

// configured returns a configuration of crypto/tls that holds the given keys.
func configured(keys *secret.TicketKeys) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	c.SetSessionTicketKeys(keys.Keys)
	return c
}
