// Package rbac is the network filter envoy.filters.network.rbac: it closes connections that its policies do not allow before anything
// behind it sees them.
package rbac
