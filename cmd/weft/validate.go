package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/server"
)

func newValidate(o server.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate -c FILE", Short: "List everything that is wrong with a configuration", Args: noArguments,
		Long: `Compiles a configuration without starting anything. Prints every problem with its place, the field and what to do about it, and notes
the fields that are accepted without effect. The exit status is 1 if any problem is an error.`,
		Example: "  weft validate -c envoy.yaml\n  weft validate --config-yaml 'admin: {}'",
	}
	cmd.Flags().SortFlags = false
	addConfigFlags(cmd.Flags(), &o)
	cmd.RunE = func(*cobra.Command, []string) error {
		if o.ConfigPath == "" && o.ConfigYAML == "" {
			return errors.New("no configuration: give one with -c FILE or --config-yaml")
		}
		return server.Validate(o)
	}
	return cmd
}
