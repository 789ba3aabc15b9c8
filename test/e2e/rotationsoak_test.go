//go:build soak

package e2e

import (
	"testing"
	"time"
)

// TestSoakCertificatesRotate replaces all certificates a thousand times, and has each in use within a second.
func TestSoakCertificatesRotate(t *testing.T) {
	const swaps = 1000
	down, up := rotate(t, swaps, 5*time.Millisecond)
	if most := max(down, up); most >= time.Second {
		t.Errorf("a new certificate was in use after %v, want less than a second", most)
	}
}
