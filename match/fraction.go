package match

import (
	"fmt"

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
	numerator   uint64
	denominator uint64
	key         string
	runtime     Runtime
}

// NewFraction compiles a RuntimeFractionalPercent. runtime may be nil: then the default value holds.
func NewFraction(cfg *corev3.RuntimeFractionalPercent, runtime Runtime) *Fraction {
	f := fractionOf(cfg.GetDefaultValue())
	f.key, f.runtime = cfg.GetRuntimeKey(), runtime
	return &f
}

func fractionOf(p *typev3.FractionalPercent) Fraction {
	f := Fraction{numerator: uint64(p.GetNumerator()), denominator: 100}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.denominator = 1_000_000
	}
	return f
}

// Match reports whether the fraction holds for a random number.
func (f *Fraction) Match(random uint64) bool {
	numerator, denominator := f.value()
	return random%denominator < numerator
}

// value is the fraction as the runtime has it now: a whole number is a percentage, anything else the JSON of a FractionalPercent.
func (f *Fraction) value() (numerator, denominator uint64) {
	if f.runtime == nil || f.key == "" {
		return f.numerator, f.denominator
	}
	text, ok := f.runtime.Lookup(f.key)
	if !ok {
		return f.numerator, f.denominator
	}
	if n, ok := ParseUint(text); ok {
		return n, 100
	}
	var p typev3.FractionalPercent
	if protojson.Unmarshal([]byte(text), &p) != nil {
		return f.numerator, f.denominator
	}
	over := fractionOf(&p)
	return over.numerator, over.denominator
}

// String describes the condition, for people.
func (f *Fraction) String() string {
	n, d := f.value()
	return fmt.Sprintf("chosen at random, %d of %d", n, d)
}
