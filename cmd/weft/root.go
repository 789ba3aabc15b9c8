package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/server"
)

const long = `Weft is a network proxy for HTTP and TCP that runs Envoy v3 configuration.

  weft -c envoy.yaml                                     run a configuration
  weft validate -c envoy.yaml                            list everything that is wrong with it
  weft explain -c envoy.yaml http://localhost:10000/     where would this request go, and why?
  weft proxy --from :8080 --to http://127.0.0.1:3000     a load balancer without a file
  weft run --demo                                        something to play with

SIGTERM and SIGINT finish what is under way and exit, a second one exits at once; SIGHUP applies a changed configuration file;
SIGUSR1 reopens log files.`

// newRoot builds the command line. o is what all commands start from.
func newRoot(o server.Options) *cobra.Command {
	o.Extensions = builtin.Extensions()
	root := &cobra.Command{
		Use: "weft", Short: "A network proxy that runs Envoy v3 configuration", Long: long,
		Version: o.Version, SilenceUsage: true, SilenceErrors: true,
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	root.SetVersionTemplate("weft  version: {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	serve := newRun(o)
	root.Args, root.RunE = serve.Args, serve.RunE
	root.Flags().AddFlagSet(serve.Flags())
	root.Flags().SortFlags = false
	root.AddCommand(serve, newValidate(o), newProxy(o), newExplain(o), newXDS(o), newVersion(o))
	root.CompletionOptions.HiddenDefaultCmd = false
	root.InitDefaultCompletionCmd("completion")
	return root
}

// noArguments refuses arguments that are not flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q (did you mean %q?)", args[0], near[0])
	}
	return fmt.Errorf("unknown argument %q; see weft --help", args[0])
}
