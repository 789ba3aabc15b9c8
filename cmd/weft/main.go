// Weft is a network proxy that runs Envoy v3 configuration. See `weft help`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/weftproxy/weft/server"
)

// version is set when a release is linked: -ldflags "-X main.version=v1.2.3".
var version = "dev" //nolint:gochecknoglobals // the linker can set nothing else

func main() { os.Exit(run()) }

// run is the whole program; it returns the exit status.
func run() int {
	root := newRoot(server.Options{Version: versionText(), Stdout: os.Stdout, Stderr: os.Stderr, OwnProcess: true})
	root.SetArgs(os.Args[1:])
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "weft:", err)
		return 1
	}
	return 0
}

// serve runs a process that signals control. The other commands leave signals to do what they usually do.
func serve(ctx context.Context, o server.Options) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // whoever read our output may be gone: a reason to lose log lines, not to end
	o.Signals = signals
	return server.Run(ctx, o)
}
