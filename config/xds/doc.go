// Package xds is the client of Envoy's discovery protocols. It asks control planes for what a subscription.Hub wants, over gRPC
// streams (state of the world and delta, aggregated and one stream a type), by REST polling and from files, and delivers what
// comes to the Hub. What is bad in a response is rejected by name, field and reason; the rest of it takes effect.
package xds
