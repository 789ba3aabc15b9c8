package proxyproto

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

func bad1(reason string) (Header, int, int, error) {
	return Header{}, 0, 0, &Error{Version: 1, Reason: reason}
}

// decodeV1 reads "PROXY TCP4 source destination sourceport destinationport\r\n".
func decodeV1(b []byte) (Header, int, int, error) {
	line := b[:min(len(b), MaxV1)]
	end := bytes.IndexByte(line, '\n')
	switch {
	case end < 0 && len(b) >= MaxV1:
		return bad1("no end of line within 107 bytes")
	case end < 0:
		return Header{}, 0, len(b) + 1, nil
	case line[end-1] != '\r':
		return bad1("a line feed without a carriage return")
	}
	n := end + 1
	words := strings.Split(string(line[len(sig1):end-1]), " ")
	h := Header{Version: 1}
	if words[0] == "UNKNOWN" {
		h.Local = true // what follows on the line is to be ignored
		return h, n, 0, nil
	}
	if len(words) != 5 {
		return bad1("not six words")
	}
	if words[0] != "TCP4" && words[0] != "TCP6" {
		return bad1("unknown protocol")
	}
	var ok [2]bool
	h.Source, ok[0] = parseV1(words[1], words[3], words[0] == "TCP6")
	h.Destination, ok[1] = parseV1(words[2], words[4], words[0] == "TCP6")
	if !ok[0] || !ok[1] {
		return bad1("malformed address or port")
	}
	return h, n, 0, nil
}

func parseV1(ip, port string, six bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Is6() != six || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(p, 10) { // no sign, no leading zeros
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, uint16(p)), true
}

// appendV1 appends the line.
func (h *Header) appendV1(dst []byte) ([]byte, error) {
	if h.Local {
		return append(dst, sig1+"UNKNOWN\r\n"...), nil
	}
	source, destination, err := h.oneFamily()
	if err != nil {
		return dst, err
	}
	protocol := "TCP4"
	if source.Addr().Is6() {
		protocol = "TCP6"
	}
	return fmt.Appendf(dst, "%s%s %s %s %d %d\r\n", sig1, protocol, source.Addr(), destination.Addr(), source.Port(), destination.Port()), nil
}
