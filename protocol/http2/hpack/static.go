package hpack

import "github.com/weftproxy/weft/message"

// staticCount is the number of entries of the static table; the dynamic one begins after it (RFC 7541 section 2.3.3).
const staticCount = 61

// A static is an entry of the static table.
type static struct {
	text    string // name and value
	nameLen uint8
	known   message.Known
	pseudo  Pseudo
}

// statics is the static table (RFC 7541 appendix A); entry 0 is unused. Immutable.
var statics = fillStatics([...][2]string{
	{":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"}, {":scheme", "http"},
	{":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"}, {":status", "304"}, {":status", "400"},
	{":status", "404"}, {":status", "500"}, {"accept-charset"}, {"accept-encoding", "gzip, deflate"}, {"accept-language"},
	{"accept-ranges"}, {"accept"}, {"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
	{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"}, {"content-location"},
	{"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"}, {"expires"}, {"from"}, {"host"},
	{"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"}, {"if-unmodified-since"}, {"last-modified"}, {"link"},
	{"location"}, {"max-forwards"}, {"proxy-authenticate"}, {"proxy-authorization"}, {"range"}, {"referer"}, {"refresh"},
	{"retry-after"}, {"server"}, {"set-cookie"}, {"strict-transport-security"}, {"transfer-encoding"}, {"user-agent"}, {"vary"},
	{"via"}, {"www-authenticate"},
})

func fillStatics(list [staticCount][2]string) (t [staticCount + 1]static) {
	for i, nv := range list {
		s := static{text: nv[0] + nv[1], nameLen: uint8(len(nv[0])), known: message.LookupKnown(nv[0])}
		if nv[0][0] == ':' {
			s.pseudo = pseudoOf(nv[0])
		}
		t[i+1] = s
	}
	return t
}

func (s *static) name() string  { return s.text[:s.nameLen] }
func (s *static) value() string { return s.text[s.nameLen:] }

// pseudoIndex is the first static entry of each Pseudo's name; 0: none. Immutable.
var pseudoIndex = [OtherPseudo + 1]uint8{Authority: 1, Method: 2, Path: 4, Scheme: 6, Status: 8}

// knownIndex is the static entry of each well-known name; 0: none. Immutable.
var knownIndex = fillKnownIndex()

func fillKnownIndex() (t [256]uint8) {
	for i := 1; i <= staticCount; i++ {
		if s := &statics[i]; s.known != message.Unknown {
			t[s.known] = uint8(i)
		}
	}
	return t
}

// otherIndex returns the static entry of a name that is not a well-known one; 0: none.
func otherIndex(name string) uint8 {
	if len(name) < 3 || len(name) > 27 {
		return 0
	}
	for i := otherFirst[name[0]]; i != 0 && i <= staticCount && statics[i].text[0] == name[0]; i++ {
		if s := &statics[i]; s.name() == name {
			return i
		}
	}
	return 0
}

// otherFirst is the first static entry whose name begins with a given byte, 0 when there is none: the table is sorted by first
// letter, pseudo-header fields apart. Immutable.
var otherFirst = fillOtherFirst()

func fillOtherFirst() (t [256]uint8) {
	for i := staticCount; i >= 15; i-- {
		t[statics[i].text[0]] = uint8(i)
	}
	return t
}
