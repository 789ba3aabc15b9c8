package match

import (
	"fmt"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// A Runtime looks up Envoy's runtime overrides.
type Runtime interface {
	Lookup(key string) (string, bool)
}

// A Fraction is a compiled RuntimeFractionalPercent: it holds for a part of all random numbers.
type Fraction struct {
	base    ratio
	key     string
	runtime Runtime
	last    atomic.Pointer[override] // what the runtime's text meant when it was last read
}

// A ratio is a part of whole numbers below the denominator.
type ratio struct{ numerator, denominator uint64 }

// An override is a value of the runtime, and what it means.
type override struct {
	text string
	ratio
}

// NewFraction compiles a RuntimeFractionalPercent. runtime may be nil: then the default value holds.
func NewFraction(cfg *corev3.RuntimeFractionalPercent, runtime Runtime) *Fraction {
	return &Fraction{base: ratioOf(cfg.GetDefaultValue()), key: cfg.GetRuntimeKey(), runtime: runtime}
}

func ratioOf(p *typev3.FractionalPercent) ratio {
	r := ratio{numerator: uint64(p.GetNumerator()), denominator: 100}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		r.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		r.denominator = 1_000_000
	}
	return r
}

// Match reports whether the fraction holds for a random number.
func (f *Fraction) Match(random uint64) bool {
	r := f.value()
	return random%r.denominator < r.numerator
}

// value is the fraction as the runtime has it now: a whole number is a percentage, anything else the JSON of a FractionalPercent.
func (f *Fraction) value() ratio {
	if f.runtime == nil || f.key == "" {
		return f.base
	}
	text, ok := f.runtime.Lookup(f.key)
	if !ok {
		return f.base
	}
	if n, ok := ParseUint(text); ok {
		return ratio{n, 100}
	}
	if known := f.last.Load(); known != nil && known.text == text {
		return known.ratio
	}
	now := &override{text, f.base}
	var p typev3.FractionalPercent
	if protojson.Unmarshal([]byte(text), &p) == nil {
		now.ratio = ratioOf(&p)
	}
	f.last.Store(now)
	return now.ratio
}

// String describes the condition, for people.
func (f *Fraction) String() string {
	r := f.value()
	return fmt.Sprintf("chosen at random, %d of %d", r.numerator, r.denominator)
}
