// Package scripts runs the scripts in testdata: whole proxies between scripted clients and upstreams. Each script is a txtar
// archive; its comment is the script, its files are the configuration: config.yaml, or the parts of kit.HTTP (routes.yaml,
// manager.yaml, vhosts.yaml, table.yaml, clusters.yaml, listener.yaml, top.yaml).
//
// The tests in pairs_*_test.go are Go: each runs in every pair of protocols. Those in h2*_test.go are what hostile peers of HTTP/2 send.
//
// LANGUAGE.md describes the steps. `go test ./test/scripts -update` rewrites the expectations that are blocks.
package scripts
