package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/server"
)

func newExplain(o server.Options) *cobra.Command {
	var q server.Question
	var headers []string
	cmd := &cobra.Command{
		Use: "explain (-c FILE | --admin ADDRESS) URL", Short: "Say where a request would go, and why", Args: cobra.ExactArgs(1),
		Long: `Says which listener, filter chain, virtual host, route, cluster and hosts a request would take, and which line of the configuration
says so. Nothing is sent. With --admin a running process is asked, which also knows which hosts are healthy.`,
		Example: `  weft explain -c envoy.yaml --header 'host: shop.example' http://127.0.0.1:10000/cart
  weft explain -c envoy.yaml --sni www.example https://127.0.0.1:8443/
  weft explain --admin 127.0.0.1:9901 --method POST http://shop.example:10000/cart`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	addConfigFlags(f, &o)
	f.StringVar(&q.Admin, "admin", "", "the `ADDRESS` of a running process's admin page, to ask it")
	f.StringVarP(&q.Method, "method", "X", "GET", "the request's `METHOD`")
	f.StringArrayVarP(&headers, "header", "H", nil, "a header field of the request, `NAME:VALUE`; may be repeated")
	f.StringVar(&q.Listener, "listener", "", "the `NAME` of the listener (default: the one the URL's address leads to)")
	f.StringVar(&q.Remote, "remote", "", "the client's `ADDRESS`, ip or ip:port (default 127.0.0.1)")
	f.StringVar(&q.SNI, "sni", "", "the server `NAME` that the client of an https URL asks for (default: the URL's host)")
	f.StringSliceVar(&q.ALPN, "alpn", nil, "the `PROTOCOLS` that it offers, comma separated (default h2,http/1.1)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.URL = args[0]
		for _, h := range headers {
			name, value, ok := strings.Cut(h, ":")
			if !ok || strings.TrimSpace(name) == "" {
				return fmt.Errorf("--header %q: want NAME:VALUE", h)
			}
			q.Headers = append(q.Headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
		}
		return server.Explain(cmd.Context(), o, q)
	}
	return cmd
}
