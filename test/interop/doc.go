// Package interop tests Weft against real peers: nginx, HAProxy, curl, wrk, h2load, Python, Node and Chromium, on both of its sides. The
// tests need the build tag interop (make interop). A peer that is not installed skips its tests; Chromium is fetched with apt-get where the
// tests run as root.
package interop
