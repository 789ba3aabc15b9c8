// Package hpack is HPACK (RFC 7541) without garbage: the decoder writes into the arena of a message.Header, the encoder appends to a buffer.
package hpack
