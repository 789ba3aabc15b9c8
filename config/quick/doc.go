// Package quick makes an Envoy v3 Bootstrap out of a few words: `weft proxy --from :8080 --to http://127.0.0.1:3000`, and the
// configuration Weft runs with when it is given none.
package quick
