package http1

import (
	"bytes"

	"github.com/weftproxy/weft/protocol"
)

// A scan finds the lines of a header section in a read buffer, going on where it stopped when more bytes arrive.
type scan struct {
	lines []uint32 // where each line ends, behind its CRLF
	at    int      // where the present line begins
	seen  int      // bytes looked at
}

func (s *scan) reset() { s.lines, s.at, s.seen = s.lines[:0], 0, 0 }

// find looks for the empty line that ends the section. n is the section's length, that line included; 0: more bytes are needed.
func (s *scan) find(b []byte, l *limits) (n int, err *protocol.Error) {
	for {
		i := bytes.IndexByte(b[s.seen:], '\n')
		if i < 0 {
			if s.seen = len(b); s.seen > l.bytes {
				return 0, errHeadSize
			}
			return 0, nil
		}
		end := s.seen + i + 1
		if end-s.at < 2 || b[end-2] != '\r' {
			return 0, errBareLF
		}
		if end > l.bytes {
			return 0, errHeadSize
		}
		if end-s.at == 2 {
			return end, nil
		}
		if len(s.lines) > l.fields {
			return 0, errHeadCount
		}
		s.lines = append(s.lines, uint32(end))
		s.at, s.seen = end, end
	}
}
