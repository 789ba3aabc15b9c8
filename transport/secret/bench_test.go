package secret

import (
	"strconv"
	"testing"

	"github.com/weftproxy/weft/resource"
)

// BenchmarkKeyPair reads a certificate with an ECDSA key that was not read before.
func BenchmarkKeyPair(b *testing.B) {
	s, m := NewStore(Options{}), inlined(leaf("a.example.com"))
	b.ReportAllocs()
	for i := range b.N {
		m.Password = text(strconv.AppendInt(nil, int64(i), 10)) // which makes it another one
		if s.View().KeyPair(m, "c", &resource.Problems{}) == nil {
			b.Fatal("refused")
		}
	}
}
