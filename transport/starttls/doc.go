// Package starttls refuses the transport socket envoy.transport_sockets.starttls, and says why: a connection that begins in clear text
// switches to TLS when a network filter asks for it, which no filter here does, so that it would stay in clear text for ever.
package starttls
