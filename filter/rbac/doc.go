// Package rbac is the engine of role-based access control (envoy.config.rbac.v3): policies compiled into rules, and what they decide about
// a request or a connection. The HTTP and the network filter ask it.
//
// A rule says yes, no, or that it cannot tell: an address that is not an IP address, a filter state that is not there. What cannot be told
// never lets anybody in: it does not match a policy of an engine that allows, and matches one of an engine that denies, inverted or not.
// What is known to be absent (no TLS, no server name, no such header) is an answer, "no", as in Envoy.
package rbac
