package kit

import "testing"

// A Proto is a protocol that a client or an upstream of a lab speaks.
type Proto string

// The protocols, in cleartext.
const (
	HTTP1 Proto = "h1"
	HTTP2 Proto = "h2" // with prior knowledge
)

// A Pair is what the two sides of Weft speak.
type Pair struct{ Down, Up Proto }

// String returns "h1-h2": downstream first.
func (p Pair) String() string { return string(p.Down) + "-" + string(p.Up) }

// Protos are all protocols of a lab.
func Protos() []Proto { return []Proto{HTTP1, HTTP2} }

// Run runs a test in all pairs of protocols, each a parallel subtest that is named after its pair.
func Run(t *testing.T, f func(t *testing.T, p Pair)) {
	t.Helper()
	for _, down := range Protos() {
		for _, up := range Protos() {
			p := Pair{down, up}
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
				f(t, p)
			})
		}
	}
}

// Protocol is the name that access logs have for the protocol.
func (p Proto) Protocol() string {
	if p == HTTP2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}
