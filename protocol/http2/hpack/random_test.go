package hpack

import (
	"math/rand/v2"
	"strconv"
)

func newRand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 7)) }

// randomText returns up to max printable characters.
func randomText(r *rand.Rand, max int) string {
	b := make([]byte, r.IntN(max+1))
	for i := range b {
		b[i] = byte(' ' + r.IntN(95))
	}
	return string(b)
}

// randomFields returns fields of all kinds, of which many repeat from block to block. The names are in lower case.
func randomFields(r *rand.Rand) []pair {
	var ps []pair
	for range r.IntN(20) {
		p := pair{value: strconv.Itoa(r.IntN(10))}
		switch r.IntN(8) {
		case 0:
			p.name = ":status"
			p.value = strconv.Itoa(100 + r.IntN(500))
		case 1:
			p.name = pseudoNames[Method+Pseudo(r.IntN(6))]
			if r.IntN(2) == 0 {
				p.value = randomText(r, 20)
			}
		case 2:
			p.name = "x-custom-" + strconv.Itoa(r.IntN(5))
		case 3:
			p.name = "x-long-" + strconv.Itoa(r.IntN(5))
			p.value = randomText(r, 400)
		case 4:
			p.name = "x-" + strconv.Itoa(r.IntN(1000))
		default:
			s := &statics[15+r.IntN(staticCount-14)]
			if p.name = s.name(); r.IntN(2) == 0 {
				p.value = s.value()
			}
		}
		if r.IntN(20) == 0 {
			p.value = randomText(r, 5000)
		}
		p.sensitive = r.IntN(10) == 0
		ps = append(ps, p)
	}
	return ps
}
