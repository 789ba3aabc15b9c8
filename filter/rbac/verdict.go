package rbac

// A verdict is what a rule says, in the logic of three values that Kleene gave the name to: "and" is the least of its parts, "or" the
// greatest.
type verdict int8

const (
	no verdict = iota
	unknown
	yes
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// not leaves what is unknown unknown.
func (v verdict) not() verdict { return yes - v }
