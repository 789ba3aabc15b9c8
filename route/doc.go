// Package route compiles Envoy's RouteConfiguration into a Table and finds in it the Route that a request takes.
//
// A table first finds the virtual host of the authority (exact, suffix wildcard, prefix wildcard, "*"), then the first route of it, in
// the order of the configuration, whose conditions all hold. Neither walks what cannot match: domains and exact paths are hashed,
// prefixes and the literal beginnings of regular expressions are sorted. A match allocates nothing.
//
// A table that follows another one keeps what has not changed. Scopes find the table by headers of the request.
package route
