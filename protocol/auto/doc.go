// Package auto serves connections in the version of HTTP that their first bytes, or the TLS handshake, ask for: Envoy's codec_type AUTO.
package auto
