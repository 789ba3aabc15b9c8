// Package dispatch takes one exchange from its first byte to its last: what Envoy calls the HTTP connection manager. A Dispatcher
// serves the connections of a filter chain; for each request it pins a View, cleans the headers, matches a route, runs the
// filters compiled for that route, turns errors into replies, and records what happened.
package dispatch
