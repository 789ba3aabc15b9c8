// Package scripts runs the scripts in testdata: whole proxies between scripted clients and upstreams. Each script is a txtar
// archive; its comment is the script, its files are the configuration: config.yaml, or the parts of kit.HTTP (routes.yaml,
// manager.yaml, vhosts.yaml, table.yaml, clusters.yaml, listener.yaml, top.yaml).
//
// LANGUAGE.md describes the steps. `go test ./test/scripts -update` rewrites the expectations that are blocks.
package scripts
