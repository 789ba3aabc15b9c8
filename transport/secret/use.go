package secret

import "github.com/weftproxy/weft/resource"

// A Use is what a place does with a secret that it names. The zero value takes any version.
type Use[T any] struct {
	// Fits reports what makes a version that a source delivers unfit for this place, in which case nobody gets it. It is not asked about
	// static secrets.
	Fits func(v *T, at resource.Path, p *resource.Problems)
	// Changed is called when another version that a source has delivered is in force. It must not block.
	Changed func()
}

// fit holds a version to what the place wants.
func (u Use[T]) fit(v *T, at resource.Path, p *resource.Problems) bool {
	if u.Fits != nil {
		u.Fits(v, at, p)
	}
	return !p.HasErrors()
}

// changed tells the place.
func (u Use[T]) changed() {
	if u.Changed != nil {
		u.Changed()
	}
}
