// Package tlsinspector is the listener filter envoy.filters.listener.tls_inspector: it tells from the first bytes of a connection whether it
// is TLS, and which server name and application protocols the client asks for, so that filter chains can be chosen by them. It consumes
// nothing: the handshake, here or at an upstream, reads the same bytes again.
package tlsinspector
