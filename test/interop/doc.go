// Package interop tests Weft against real peers: nginx, HAProxy, curl, OpenSSL, wrk, h2load, nghttp, nghttpd, Python, Node and Chromium, h2spec,
// testssl.sh and sslscan, the conformance suite of Connect and gRPC, and grpc-go's interop client and server, on both of its sides, with and
// without TLS; and go-control-plane's integration server, which configures it. The tests need the build tag interop (make interop). A peer that is not installed skips its tests, unless CI=true or
// WEFT_INTEROP=require; Chromium, testssl.sh and sslscan are fetched with apt-get where the tests run as root. Peers that are Go programs are
// built from the modules that test/interop/peers pins.
package interop
