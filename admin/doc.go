// Package admin is the interface operators look through: Envoy's admin endpoints in Envoy's formats, the client status discovery
// service (CSDS), and Weft's own /exchanges, /failures, /explain, /xds and /debug/pprof. A Server shows what the functions of its State
// tell, when it is asked; it keeps nothing itself.
//
// Whoever reaches the interface can stop the process and read its configuration, so it belongs on a loopback address or a
// guarded network. What changes something answers only to POST, and not to a browser page of another origin (told by
// Sec-Fetch-Site, else by Origin against Host), so that no web page can do it through an operator's browser. Requests that carry
// neither header come from tools and pass. A name that an attacker points at a loopback address is an origin of its own and is
// not recognised: State.Allow is the place to restrict more.
package admin
