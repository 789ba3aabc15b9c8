// Package xfcc writes and reads x-forwarded-client-cert, in which proxies tell what they know of their client's certificate.
//
// The text is Envoy's: elements with commas between, one a proxy, each of key=value pairs with semicolons between. Dispatch writes it, and
// checks with it what a client's own header says before something is appended; Parse is for those that read identities from it.
package xfcc
