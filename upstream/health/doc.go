// Package health checks actively whether hosts can serve: a Checker asks one host again and again, by an HTTP request or by what a
// TCP connection answers, and says when its health changes.
package health
