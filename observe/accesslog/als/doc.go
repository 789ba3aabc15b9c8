// Package als sends access log entries to an access log service over gRPC: Envoy's StreamAccessLogs.
//
// An entry is encoded at once, into memory that is used again. Each log has one stream and one goroutine, which begin with its first entry
// and end when there have been none for long. What a slow or missing service does not take waits up to a limit; entries beyond it are
// dropped and counted, and the data path never waits.
package als
