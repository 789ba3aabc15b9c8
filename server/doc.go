// Package server is the process: it reads the configuration, compiles it into snapshots, puts each into effect on listeners and
// clusters, and ends in order.
//
// Run is the whole life of it. Everything that changes after the start, whoever asks for it, goes through one loop (signals
// and admin requests) or one lock (reloads), so that no two changes are under way at once.
package server
