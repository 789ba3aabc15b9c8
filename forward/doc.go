// Package forward is the last filter: it answers what the route answers itself, and sends everything else to a host of the route's
// cluster, again if a retry policy says so.
//
// A Router serves HTTP exchanges. What it keeps for one exchange is a flight: the effective timeouts and retry policy, the present
// attempt and the response on its way back. A TCP proxy does the same for plain connections.
package forward
