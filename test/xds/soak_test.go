//go:build soak

package xds

import "testing"

// What the other tests do, for longer.

func TestSoakEveryAnswerIsOfAConfigurationInForce(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { changeAtRandom(t, delta, 10_000, 0) })
}

func TestSoakTheControlPlaneComesBack(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { restartPlane(t, delta, 500) })
}

func TestSoakChangesDisturbNothingThatIsOpen(t *testing.T) {
	both(t, func(t *testing.T, delta bool) { changeAround(t, delta, 1000, 0) })
}
