//go:build linux

package main

import (
	"context"
	"fmt"
)

// tlsScenarios are those with TLS on the clients' side; the upstream speaks HTTP/1.1 without.
func tlsScenarios(o *options) []scenario {
	wrk := func(path string) *load { return &load{generator: generatorWrk, tls: true, path: path, connections: 64} }
	fresh := load{generator: generatorTLS, path: "/100", connections: 64}
	again := load{generator: generatorTLS, path: "/100", connections: 64, resume: true}
	h2 := load{generator: generatorH2load, tls: true, path: "/100", connections: 8, streams: 16}
	return []scenario{
		loadScenario(scenario{
			name: "tls-get", title: "TLS, GET, 100-byte response, 64 keep-alive connections",
			kind: kindTLS, load: wrk("/100"), columns: loadColumns(), targets: []target{atMost(1.2, "nginx")},
		}),
		loadScenario(scenario{
			name: "tls-1m", title: "TLS, GET, 1 MiB response, 64 keep-alive connections",
			kind: kindTLS, load: wrk("/1m"), columns: loadColumns(), targets: []target{atMost(1.3, "nginx")},
		}),
		loadScenario(scenario{
			name: "tls-new", title: "TLS, a new connection with a full handshake for each GET, 64 at once",
			kind: kindTLS, load: &fresh, columns: loadColumns(), targets: []target{atMost(1.5, "nginx")},
		}),
		loadScenario(scenario{
			name: "tls-resume", title: "TLS, a new connection that resumes a session for each GET, 64 at once",
			kind: kindTLS, load: &again, columns: loadColumns(), targets: []target{atMost(1.5, "nginx")},
		}),
		loadScenario(scenario{
			name: "tls-h2", title: "HTTP/2 over TLS to HTTP/1.1, 100-byte response, 8 connections with 16 streams each",
			kind: kindTLSH2, load: &h2, columns: h2LoadColumns(),
		}),
		{
			name: "tls-idle", title: fmt.Sprintf("%d idle keep-alive TLS connections, after %v of rest", o.idleTLS, o.settle),
			kind: kindTLS, clients: o.idleTLS, sample: sampleIdleTLS, columns: idleColumns(),
			targets: []target{{perConnection(), "", 16 << 10}},
		},
		{
			name: "tls-start", title: fmt.Sprintf("start with %d certificates by server name in one listener", o.sites),
			kind: kindSites, sample: sampleStartTLS, columns: startColumns(),
			targets: []target{{readyAfter(), "", 3000}},
		},
	}
}

func sampleIdleTLS(ctx context.Context, b *bench, r *running) (sample, error) {
	return idleVisitors(ctx, b, r, b.options.idleTLS, tlsVisitor)
}

// sampleStartTLS is sampleStart with names: the first, a middle and the last must be answered, each with its own certificate.
func sampleStartTLS(ctx context.Context, b *bench, r *running) (sample, error) {
	return startedWith(ctx, r, b.options.sites, func(i int) error {
		return dialAskTLS(r.setup.Listen, r.certs.client(nameOfSite(i), "http/1.1"), "/100", askLimit)
	})
}
