package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/config/quick"
	"github.com/weftproxy/weft/server"
)

func newProxy(o server.Options) *cobra.Command {
	var q quick.Options
	cmd := &cobra.Command{
		Use: "proxy --from ADDRESS --to URL[,URL...]", Short: "A load balancer in one line, for HTTP or TCP", Args: noArguments,
		Long: `Listens on one address and balances over one or more targets: those with the fewest requests under way first.
http:// targets are spoken to in HTTP/1.1, WebSockets included; h2c:// and grpc:// targets in HTTP/2 without TLS; clients may use
either. tcp:// and tcp+unix: targets take any stream.

https://, grpcs:// and tls:// are the same in TLS: a host has to show a certificate for its name, of a CA that the system trusts or of
--ca, and requests ask for it by that name. --cert and --key make the listener speak TLS; their files are read again when they change.`,
		Example: `  weft proxy --from :8080 --to http://127.0.0.1:3000,http://127.0.0.1:3001
  weft proxy --from :8080 --to grpc://127.0.0.1:50051
  weft proxy --from :5432 --to tcp://db.internal:5432 --admin 127.0.0.1:9901
  weft proxy --from :8443 --cert site.pem --key site.key --to http://127.0.0.1:3000
  weft proxy --from :8080 --to https://example.com
  weft proxy --from unix:/run/app.sock --to unix:/run/upstream.sock`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&q.From, "from", "", "the `ADDRESS` to listen on: :8080, 127.0.0.1:8080, [::]:8080 or unix:/path")
	f.StringSliceVar(&q.To, "to", nil, "the `URL`s to forward to: http, https, h2c, grpc or grpcs://host:port, tcp or tls://host:port, unix:/path, h2c+unix:/path or tcp+unix:/path")
	f.StringVar(&q.TLS.Cert, "cert", "", "the PEM `FILE` of the listener's certificate")
	f.StringVar(&q.TLS.Key, "key", "", "the PEM `FILE` of its private key")
	f.StringVar(&q.TLS.ClientCA, "client-ca", "", "the PEM `FILE` of the CAs that clients need a certificate of")
	f.StringVar(&q.TLS.CA, "ca", "", "the PEM `FILE` of the CAs of the targets (default the system's)")
	f.BoolVar(&q.TLS.Insecure, "insecure", false, "take any certificate of a target")
	f.StringVar(&q.Admin, "admin", "", "the `ADDRESS` of the admin page (default none)")
	finish := addRunFlags(f, &o)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := finish(); err != nil {
			return err
		}
		b, err := quick.Bootstrap(q)
		if err != nil {
			return err
		}
		o.Bootstrap = b
		o.Started = func(a server.Addresses) {
			for _, at := range a.Listeners {
				fmt.Fprintf(o.Stdout, "listening on %s, forwarding to %s\n", strings.Join(at, ", "), strings.Join(q.To, ", "))
			}
			if a.Admin != "" {
				fmt.Fprintf(o.Stdout, "admin page on http://%s/\n", a.Admin)
			}
		}
		return serve(cmd.Context(), o)
	}
	return cmd
}
