package extension

import "testing"

func TestRuntimeValues(t *testing.T) {
	r := &Runtime{}
	r.Set(map[string]string{
		"t": "TRUE", "f": " false\n", "n": "7", "zero": "0", "half": "2.5", "text": "x", "negative": "-1", "huge": "1e300", "nan": "NaN",
	})
	for key, want := range map[string]struct {
		onTrue, onFalse bool
		number          uint64
		float           float64
	}{
		"t":        {true, true, 42, 42},
		"f":        {false, false, 42, 42},
		"n":        {true, true, 7, 7},
		"zero":     {false, false, 0, 0},
		"half":     {true, false, 2, 2.5},
		"text":     {true, false, 42, 42},
		"negative": {true, false, 42, -1},
		"huge":     {true, false, 42, 1e300},
		"nan":      {true, false, 42, 42},
		"missing":  {true, false, 42, 42},
		"":         {true, false, 42, 42},
	} {
		if a, b := r.Bool(key, true), r.Bool(key, false); a != want.onTrue || b != want.onFalse {
			t.Errorf("%s: Bool is %v and %v", key, a, b)
		}
		if n := r.Uint(key, 42); n != want.number {
			t.Errorf("%s: Uint is %d, want %d", key, n, want.number)
		}
		if f := r.Float(key, 42); f != want.float {
			t.Errorf("%s: Float is %v, want %v", key, f, want.float)
		}
	}
	if none := (*Runtime)(nil); !none.Bool("t", true) || none.Uint("n", 1) != 1 || none.Float("n", 1) != 1 {
		t.Error("without a runtime the defaults hold")
	}
	if n := testing.AllocsPerRun(100, func() { r.Bool("t", false); r.Uint("n", 0) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
