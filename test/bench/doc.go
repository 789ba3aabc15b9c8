//go:build linux

// Command bench measures what Weft costs beside nginx, HAProxy and Caddy: CPU a
// request, latency, memory, idle connections, TCP streams, start-up with many
// routes, HTTP/2, gRPC, and HTTP/2 floods. One worker each, the same upstream, the same load, taking turns.
// README.md says how to run it and how to read its tables.
package main
