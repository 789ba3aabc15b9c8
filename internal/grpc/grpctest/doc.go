// Package grpctest is what the tests of the gRPC filters have in common: bodies that come in pieces of any size, and an exchange whose
// chain is one filter before a function.
package grpctest
