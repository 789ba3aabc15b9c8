// Package rbac is the HTTP filter envoy.filters.http.rbac: it answers requests that its policies do not allow with 403, and tries others
// that are not yet to be enforced.
package rbac
