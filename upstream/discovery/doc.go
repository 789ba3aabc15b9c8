// Package discovery finds the addresses behind names: a Resolver asks DNS and remembers nothing, a Refresher asks it again and again
// for one name.
package discovery
