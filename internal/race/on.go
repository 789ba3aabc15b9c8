//go:build race

package race

// Enabled is true in race builds, where released memory is overwritten with Poison.
const Enabled = true
