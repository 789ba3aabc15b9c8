// Package tls is the transport socket envoy.transport_sockets.tls, for both sides. The cryptography is that of crypto/tls; what lies
// around it is here: which certificate a client is shown, what a peer's certificate has to be, which sessions may be resumed, and Envoy's
// words for what goes wrong. Secrets are read through their slots at each handshake, so that a rotated one is in force for the next.
package tls
