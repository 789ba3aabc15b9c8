// Package hpack is HPACK (RFC 7541) without garbage: the decoder writes into the arena of a message.Header, the encoder appends to
// a buffer.
//
// The encoder does not use the Huffman code: a proxy would rather spend bytes on a fast network than time. The decoder reads it.
package hpack
