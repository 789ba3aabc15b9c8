// Package fswatch tells when what a path leads to may have changed: written in place, renamed over, or behind a symbolic link that leads
// elsewhere now, as Kubernetes swaps the contents of its volumes.
package fswatch
