// Package match compiles Envoy's matchers (strings, headers, query parameters, cookies, addresses, metadata, fractions) into
// values that hold no configuration message and match without allocating.
//
// Constructors take the Envoy v3 message and return errors that name what is wrong; the caller adds where. Matchers are immutable
// and safe for concurrent use.
package match
