// Package auto serves connections in the version of HTTP that their first bytes, or the TLS handshake, ask for: Envoy's codec_type AUTO.
// Its client opens upstream connections in the version that the TLS handshake agreed on: Envoy's auto_config.
package auto
