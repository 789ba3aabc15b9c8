// Package listener accepts connections. A Config is a compiled Listener message: addresses, listener filters and the filter chains
// with the matcher that chooses among them. A Listener is one at work: it binds, accepts, inspects, matches, hands over to the
// chain's handler, parks idle connections and drains. Update gives it another Config without touching its sockets; connections of
// filter chains that stayed live on.
package listener
