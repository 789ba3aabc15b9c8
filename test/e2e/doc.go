// Package e2e tests the program as people run it: the real binary, real sockets, curl where it is installed.
package e2e
