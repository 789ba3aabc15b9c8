// Package race tells whether this is a race build, in which borrowed memory is poisoned on release so that a use after
// release shows.
package race

// Poison overwrites b in race builds and does nothing otherwise.
func Poison(b []byte) {
	if !Enabled {
		return
	}
	b = b[:cap(b)]
	for i := range b {
		b[i] = 0xDB
	}
}
