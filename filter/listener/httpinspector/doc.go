// Package httpinspector is the listener filter envoy.filters.listener.http_inspector: it tells from the first bytes of a connection which
// version of HTTP it speaks, so that filter chains can be chosen by application_protocols.
package httpinspector
