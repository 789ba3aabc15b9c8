// Package message is the one model that every protocol decodes into and encodes from: a Request asks, a Response answers,
// a Header is an ordered list of fields, a Body is a stream of bytes that is pulled.
//
// Memory is borrowed: strings and slices that a message hands out live until the message is released by the codec that made
// it. Whoever keeps one longer clones it. In race builds released memory is overwritten, so that a late use shows.
package message
