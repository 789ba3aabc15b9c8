// Package certs makes certificates for tests, measurements and examples: authorities, leaves of every kind, revocation lists,
// OCSP responses and the files that hold them.
//
// Everything is made anew by each call and nothing is kept. Names, keys and periods are the caller's; what a request leaves empty
// has a default that makes the certificate good for both sides of a connection, here and now. Keys come from crypto/rand, so no
// two runs have the same.
//
// Package certs is not for production: it has neither policy nor constraints.
package certs
