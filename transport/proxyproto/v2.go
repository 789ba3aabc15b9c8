package proxyproto

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
)

// Parts of the fixed part of version 2.
const (
	cmdLocal = 0x20
	cmdProxy = 0x21
	famV4    = 1
	famV6    = 2
	stream   = 1
	datagram = 2
)

func bad2(reason string) (Header, int, int, error) {
	return Header{}, 0, 0, &Error{Version: 2, Reason: reason}
}

func decodeV2(b []byte) (Header, int, int, error) {
	if len(b) < v2Len {
		return Header{}, 0, v2Len, nil
	}
	h := Header{Version: 2}
	command, family, transport := b[12], b[13]>>4, b[13]&0xf
	n := v2Len + int(binary.BigEndian.Uint16(b[14:]))
	switch command {
	case cmdLocal:
		h.Local = true
	case cmdProxy:
	default:
		return bad2("unknown version or command")
	}
	size := 0
	switch {
	case h.Local:
		// Addresses and extensions of LOCAL are to be skipped.
	case transport != stream && transport != datagram:
		return bad2("unsupported transport")
	case family == famV4:
		size = 4
	case family == famV6:
		size = 16
	default:
		return bad2("unsupported address family")
	}
	rest := v2Len + 2*size + 4
	if !h.Local && n < rest {
		return bad2("too short for its addresses")
	}
	if len(b) < n {
		return Header{}, 0, n, nil
	}
	if h.Local {
		return h, n, 0, nil
	}
	at := b[v2Len:]
	source, _ := netip.AddrFromSlice(at[:size])
	destination, _ := netip.AddrFromSlice(at[size : 2*size])
	ports := at[2*size:]
	h.Source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:]))
	h.TLVs = b[rest:n:n]
	if !wellFormed(h.TLVs) {
		return bad2("malformed extension")
	}
	return h, n, 0, nil
}

func wellFormed(tlvs []byte) bool {
	for len(tlvs) > 0 {
		if len(tlvs) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(tlvs[1:]))
		if n > len(tlvs) {
			return false
		}
		tlvs = tlvs[n:]
	}
	return true
}

// Each yields type and value of each extension. What is malformed ends it.
func Each(tlvs []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for len(tlvs) >= 3 {
			n := 3 + int(binary.BigEndian.Uint16(tlvs[1:]))
			if n > len(tlvs) || !yield(tlvs[0], tlvs[3:n:n]) {
				return
			}
			tlvs = tlvs[n:]
		}
	}
}

// AppendTLV appends one extension. A value of more than 65,535 bytes is an error.
func AppendTLV(dst []byte, kind byte, value []byte) ([]byte, error) {
	if len(value) > 1<<16-1 {
		return dst, errors.New("PROXY protocol v2: extension too long")
	}
	dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(value)))
	return append(dst, value...), nil
}

// Append appends the header as it goes over the wire. Version 1 has no room for TLVs and leaves them out.
func (h *Header) Append(dst []byte) ([]byte, error) {
	if h.Version == 1 {
		return h.appendV1(dst)
	}
	if h.Local {
		return append(append(dst, sig2...), cmdLocal, 0, 0, 0), nil
	}
	source, destination, err := h.oneFamily()
	if err != nil {
		return dst, err
	}
	family, size := byte(famV4), 4
	if source.Addr().Is6() {
		family, size = famV6, 16
	}
	n := 2*size + 4 + len(h.TLVs)
	if n > 1<<16-1 {
		return dst, errors.New("PROXY protocol v2: extensions too long")
	}
	dst = append(append(dst, sig2...), cmdProxy, family<<4|stream)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = append(append(dst, source.Addr().AsSlice()...), destination.Addr().AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	dst = binary.BigEndian.AppendUint16(dst, destination.Port())
	return append(dst, h.TLVs...), nil
}

// oneFamily returns the addresses in one family: both IPv4, or both IPv6 with IPv4 mapped.
func (h *Header) oneFamily() (source, destination netip.AddrPort, err error) {
	s, d := h.Source.Addr(), h.Destination.Addr()
	if !s.IsValid() || !d.IsValid() {
		return source, destination, errors.New("PROXY protocol: no addresses to tell")
	}
	if s.Is4() != d.Is4() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return netip.AddrPortFrom(s.WithZone(""), h.Source.Port()), netip.AddrPortFrom(d.WithZone(""), h.Destination.Port()), nil
}
