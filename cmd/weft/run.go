package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/config/quick"
	"github.com/weftproxy/weft/internal/demo"
	"github.com/weftproxy/weft/server"
)

func newRun(o server.Options) *cobra.Command {
	withDemo := false
	cmd := &cobra.Command{
		Use: "run", Short: "Run a configuration; weft without a command does the same", Args: noArguments,
		Example: "  weft run -c envoy.yaml -l debug\n  weft run --demo",
	}
	cmd.Flags().SortFlags = false
	addConfigFlags(cmd.Flags(), &o)
	finish := addRunFlags(cmd.Flags(), &o)
	cmd.Flags().BoolVar(&withDemo, "demo", false,
		"run an embedded configuration: a listener on "+quick.DefaultListen+", a demo upstream behind it, the admin page on "+quick.DefaultAdmin)
	hot := cmd.Flags().Bool("hot-restart-version", false, "print the hot restart compatibility version and exit")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := finish(); err != nil {
			return err
		}
		configured := o.ConfigPath != "" || o.ConfigYAML != ""
		switch {
		case *hot:
			fmt.Fprintln(o.Stdout, "disabled")
			return nil
		case withDemo && configured:
			return errors.New("--demo has a configuration of its own: leave out --config-path and --config-yaml")
		case withDemo:
			return runDemo(cmd, o)
		case !configured:
			return errors.New("no configuration: give one with -c FILE or --config-yaml, try weft run --demo, or see weft --help")
		case o.Mode == server.ModeValidate:
			return server.Validate(o)
		}
		return serve(cmd.Context(), o)
	}
	return cmd
}

// runDemo runs the embedded configuration in front of the embedded upstream.
func runDemo(cmd *cobra.Command, o server.Options) error {
	ln, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo upstream: %w", err)
	}
	upstream := demo.Start(ln, nil)
	defer func() { _ = upstream.Close() }() // the process ends
	o.Bootstrap, err = quick.Default(upstream.Addr().String())
	if err != nil {
		return err
	}
	o.Started = func(server.Addresses) {
		fmt.Fprintf(o.Stdout, `
Weft is running. Try:

  curl -v http://%[1]s/                   through Weft to the demo upstream
  curl -N http://%[1]s/sse                a stream of events
  curl -d hello http://%[1]s/echo         what the upstream gets to see
  curl 'http://%[2]s/stats?usedonly'       statistics
  curl 'http://%[2]s/explain?url=http://%[1]s/echo'
                                                  why it goes where it goes
  http://%[2]s/                            everything else, in a browser

Behind it:
%[3]s
Ctrl-C ends it.

`, quick.DefaultListen, quick.DefaultAdmin, demo.Paths)
	}
	return serve(cmd.Context(), o)
}
