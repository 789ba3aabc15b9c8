package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftproxy/weft/config/xds/fetch"
	"github.com/weftproxy/weft/server"
)

func newXDS(o server.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "xds", Short: "Look at control planes", Args: noArguments}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(newFetch(o))
	return cmd
}

// fetchFlags are the flags of `weft xds fetch` that need a conversion.
type fetchFlags struct {
	bootstrap, output                    string
	id, cluster, zone                    string
	metadata                             []string
	tls, insecure                        bool
	serverName, ca, certificate, private string
}

func newFetch(o server.Options) *cobra.Command {
	var q fetch.Options
	var f fetchFlags
	cmd := &cobra.Command{
		Use: "fetch (--server ADDRESS | -c FILE)", Short: "Print what a control plane would send", Args: noArguments,
		Long: `Connects to a control plane as a node does, over ADS, and prints what it sends: listeners and clusters, and what they refer to
there (routes, endpoints, secrets, filter configurations). Nothing is applied. Private keys and passwords are left out.

The exit status is 1 if something that was asked for has not come.`,
		Example: `  weft xds fetch --server 127.0.0.1:18000 --node-id test
  weft xds fetch -c envoy.yaml --type endpoints --names shop,cart
  weft xds fetch --server istiod.istio-system:15010 --node-id 'sidecar~10.0.0.1~shop.default~default.svc.cluster.local' --output json`,
	}
	cmd.Flags().SortFlags = false
	addFetchFlags(cmd.Flags(), &q, &f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.into(&q); err != nil {
			return err
		}
		r, err := fetch.Fetch(cmd.Context(), q)
		if err != nil {
			return err
		}
		if err := write(o.Stdout, r, f.output); err != nil {
			return err
		}
		if missing := r.Problems(); len(missing) > 0 {
			return fmt.Errorf("%s has not sent everything: %s", q.Server, strings.Join(missing, "; "))
		}
		return nil
	}
	return cmd
}

func addFetchFlags(f *pflag.FlagSet, q *fetch.Options, x *fetchFlags) {
	f.StringVar(&q.Server, "server", "", "the control plane's `ADDRESS`: host:port or unix:/path")
	f.StringVarP(&x.bootstrap, "config-path", "c", "", "`FILE` with a bootstrap, whose node and dynamic_resources.ads_config are used")
	f.StringVar(&x.id, "node-id", "", "the `ID` to ask as: node.id (default weft)")
	f.StringVar(&x.cluster, "node-cluster", "", "the `NAME` to ask as: node.cluster")
	f.StringVar(&x.zone, "node-zone", "", "the availability `ZONE` to ask from: node.locality.zone")
	f.StringArrayVar(&x.metadata, "node-metadata", nil, "`NAME=VALUE` of node.metadata; may be repeated")
	f.StringSliceVar(&q.Types, "type", nil, "the `TYPES` to ask for: listeners, clusters, routes, endpoints, secrets, scoped-routes, "+
		"virtual-hosts, extensions, runtime, or type URLs (default listeners,clusters)")
	f.StringSliceVar(&q.Names, "names", nil, "the `NAMES` of the resources, of one type (default all)")
	f.BoolVar(&q.Delta, "delta", false, "speak the incremental variant")
	f.BoolVar(&q.Follow, "follow", true, "ask for what is referred to, too")
	f.BoolVar(&q.Reveal, "show-secrets", false, "leave private keys and passwords in")
	f.DurationVar(&q.Timeout, "timeout", fetch.DefaultTimeout, "how long all of it may take, a `TIME` such as 30s")
	f.StringVar(&x.output, "output", "yaml", "`FORMAT`: yaml or json")
	f.StringVar(&q.Authority, "authority", "", "the `NAME` that is asked for (:authority; default the address)")
	f.BoolVar(&x.tls, "tls", false, "speak TLS; the flags below imply it")
	f.StringVar(&x.ca, "ca", "", "the PEM `FILE` of the CAs of the control plane (default the system's)")
	f.StringVar(&x.certificate, "cert", "", "the PEM `FILE` of the certificate to show")
	f.StringVar(&x.private, "key", "", "the PEM `FILE` of its private key")
	f.StringVar(&x.serverName, "server-name", "", "the `NAME` that the control plane's certificate has to be for (default the host of --server)")
	f.BoolVar(&x.insecure, "insecure", false, "take any certificate")
}

// into puts into q what needs a conversion.
func (x *fetchFlags) into(q *fetch.Options) error {
	if x.output != "yaml" && x.output != "json" {
		return fmt.Errorf("--output %q: want yaml or json", x.output)
	}
	if q.Server == "" && x.bootstrap == "" {
		return errors.New("which control plane? Name it with --server, or a bootstrap with -c")
	}
	var err error
	if q.TLS, err = x.tlsConfig(); err != nil {
		return err
	}
	if x.bootstrap != "" {
		if err := q.ReadBootstrap(x.bootstrap); err != nil {
			return err
		}
	}
	if q.Node == nil {
		q.Node = &corev3.Node{}
	}
	n := q.Node
	n.Id = cmp.Or(x.id, n.GetId(), "weft")
	n.Cluster = cmp.Or(x.cluster, n.GetCluster())
	n.UserAgentName = "weft"
	if x.zone != "" {
		if n.Locality == nil {
			n.Locality = &corev3.Locality{}
		}
		n.Locality.Zone = x.zone
	}
	for _, entry := range x.metadata {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return fmt.Errorf("--node-metadata %q: want NAME=VALUE", entry)
		}
		if n.Metadata == nil {
			n.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		}
		n.Metadata.Fields[name] = structpb.NewStringValue(value)
	}
	return nil
}

// tlsConfig is what the flags about TLS say; nil when there are none.
func (x *fetchFlags) tlsConfig() (*tls.Config, error) {
	if !x.tls && !x.insecure && x.ca == "" && x.certificate == "" && x.private == "" && x.serverName == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: x.serverName, InsecureSkipVerify: x.insecure} //nolint:gosec // asked for
	if x.ca != "" {
		pem, err := os.ReadFile(x.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: %s has no certificate in it", x.ca)
		}
	}
	if (x.certificate == "") != (x.private == "") {
		return nil, errors.New("--cert and --key belong together")
	}
	if x.certificate != "" {
		pair, err := tls.LoadX509KeyPair(x.certificate, x.private)
		if err != nil {
			return nil, fmt.Errorf("--cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// write prints a result.
func write(w io.Writer, r *fetch.Result, format string) error {
	if format == "json" {
		return r.WriteJSON(w)
	}
	return r.WriteYAML(w)
}
