package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weftproxy/weft/server"
)

func newVersion(o server.Options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		Run: func(*cobra.Command, []string) { fmt.Fprintf(o.Stdout, "weft  version: %s\n", o.Version) },
	}
}

// versionText is the version in Envoy's form: revision/version/Clean or Modified/RELEASE/TLS library.
func versionText() string {
	revision, state, number := "0", "Clean", version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					state = "Modified"
				}
			}
		}
		if number == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
			number = info.Main.Version
		}
	}
	return fmt.Sprintf("%s/%s/%s/RELEASE/%s", revision, number, state, runtime.Version())
}
