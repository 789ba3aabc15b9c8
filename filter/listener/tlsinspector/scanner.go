package tlsinspector

// A verdict is what the first bytes of a connection are.
type verdict int

const (
	undecided verdict = iota // more bytes are needed
	plain                    // not TLS, or not well formed
	tooLarge                 // a ClientHello beyond the limit
	found                    // a ClientHello
)

// Constants of RFC 8446 sections 4 and 5.1.
const (
	recordHeader    = 5
	messageHeader   = 4
	maxRecord       = 1 << 14
	typeHandshake   = 22
	typeClientHello = 1
)

// A scanner finds the ClientHello at the beginning of a connection whose bytes come in pieces. The message may be spread over several
// records. However small the pieces are, a record is looked at once when it is complete.
type scanner struct {
	limit  int // bytes of all records together
	at     int // where the next record begins
	have   int // bytes of messages in the records before at
	header [messageHeader]byte
}

// scan looks at all bytes of the connection so far: those of the call before, and more.
func (s *scanner) scan(b []byte) verdict {
	b = b[:min(len(b), s.limit)]
	for s.have < messageHeader || s.have < s.size() {
		if v := s.check(b[s.at:]); v != found {
			if v == undecided && len(b) == s.limit {
				return tooLarge
			}
			return v
		}
		content := recordAt(b, s.at)
		if s.have < messageHeader {
			copy(s.header[s.have:], content)
		}
		s.at += recordHeader + len(content)
		s.have += len(content)
	}
	return found
}

// check looks at the beginning of a record; found says that all of it is there.
func (s *scanner) check(b []byte) verdict {
	switch {
	case len(b) > 0 && b[0] != typeHandshake, len(b) > 1 && b[1] != 3:
		return plain
	case len(b) < recordHeader:
		return undecided
	}
	n := int(b[3])<<8 | int(b[4])
	switch {
	case n == 0 || n > maxRecord:
		return plain
	case s.have == 0 && len(b) > recordHeader && b[recordHeader] != typeClientHello:
		return plain
	case len(b) < recordHeader+n:
		return undecided
	}
	return found
}

// size is how many bytes the message has with its header, which has to be there.
func (s *scanner) size() int {
	return messageHeader + (int(s.header[1])<<16 | int(s.header[2])<<8 | int(s.header[3]))
}

// recordAt is the content of the record at an offset. All of it is there.
func recordAt(b []byte, at int) []byte {
	at += recordHeader
	return b[at : at+(int(b[at-2])<<8|int(b[at-1]))]
}

// message returns the body of a message that was found: a part of b where it is in one record, else a copy in buf, which has room for it.
func (s *scanner) message(b, buf []byte) []byte {
	n := s.size()
	if first := recordAt(b, 0); len(first) >= n {
		return first[messageHeader:n]
	}
	have := 0
	for at := 0; have < n; {
		content := recordAt(b, at)
		have += copy(buf[have:n], content)
		at += recordHeader + len(content)
	}
	return buf[messageHeader:n]
}
