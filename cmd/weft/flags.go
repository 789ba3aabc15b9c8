package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/server"
)

// seconds and milliseconds are the flags whose unit is in their name.
type timeFlags struct{ drain, parentShutdown, flushInterval uint32 }

// addConfigFlags adds the flags that name a configuration.
func addConfigFlags(f *pflag.FlagSet, o *server.Options) {
	f.StringVarP(&o.ConfigPath, "config-path", "c", "", "`FILE` with the configuration, an Envoy v3 Bootstrap: .yaml, .json, .pb or .pb_text")
	f.StringVar(&o.ConfigYAML, "config-yaml", "", "`YAML` merged over the configuration file, or instead of one")
	f.BoolVar(&o.AllowUnknownStaticFields, "allow-unknown-static-fields", false,
		"warn of unknown and unsupported fields instead of refusing them; extensions that are not supported stay errors")
}

// addRunFlags adds Envoy's other flags. The returned function puts into o what needs a conversion; it is called after parsing.
func addRunFlags(f *pflag.FlagSet, o *server.Options) func() error {
	t := &timeFlags{}
	var tags []string
	f.StringVar(&o.Mode, "mode", server.ModeServe, "`MODE`: serve; validate, to check the configuration and exit; init_only, to do all but accept connections and exit")
	f.IntVar(&o.Concurrency, "concurrency", 0, "`NUMBER` of threads that run at once (GOMAXPROCS) (default the CPUs the process may use, cgroup limits included)")
	addLogFlags(f, o)
	f.StringVar(&o.ServiceCluster, "service-cluster", "", "the `NAME` of the cluster this process belongs to: node.cluster")
	f.StringVar(&o.ServiceNode, "service-node", "", "the `NAME` of this process: node.id")
	f.StringVar(&o.ServiceZone, "service-zone", "", "the availability `ZONE` this process is in: node.locality.zone")
	f.Uint32Var(&t.drain, "drain-time-s", uint32(server.DefaultDrainTime/time.Second), "the `SECONDS` that connections get to finish when the process ends or their listener goes away")
	f.StringVar(&o.DrainStrategy, "drain-strategy", server.DrainGradual,
		"`STRATEGY` of POST /drain_listeners?graceful: responses close their connections gradual (more and more of them) or immediate; on SIGTERM all do")
	f.StringVar(&o.AdminAddressPath, "admin-address-path", "", "`FILE` to write the address of the admin page to")
	f.StringVar(&o.LocalAddressIPVersion, "local-address-ip-version", "v4", "no effect: nothing shows the machine's address; the `VERSION` is v4 or v6")
	f.Uint32Var(&t.flushInterval, "file-flush-interval-msec", uint32(server.DefaultFileFlushInterval/time.Millisecond), "the `MILLISECONDS` an access log entry waits at most to be written")
	f.IntVar(&o.FileFlushMinSizeKB, "file-flush-min-size-kb", server.DefaultFileFlushMinSizeKB, "the `KB` of access log from which it is written at once")
	f.StringArrayVar(&tags, "stats-tag", nil, "`TAG:VALUE` put on every series; may be repeated")
	f.BoolVar(&o.EnableCoreDump, "enable-core-dump", false, "raise the limit of core files and leave one when the Go runtime crashes")
	addHotRestartFlags(f, o, t)
	f.BoolVar(&o.SkipDeprecatedLogs, "skip-deprecated-logs", false, "no effect: deprecated fields that work are not logged")
	f.BoolVar(&o.RejectUnknownDynamic, "reject-unknown-dynamic-fields", false, "refuse resources of control planes with fields that are unknown")
	f.BoolVar(&o.IgnoreUnknownDynamic, "ignore-unknown-dynamic-fields", false, "no effect: unknown fields of control planes' resources are counted and ignored, unless the flag above is given")
	f.StringVar(&o.XDSCache, "xds-cache", "", "the `DIRECTORY` in which the last good resources of control planes are kept, to start with when none answers")
	f.Bool("cpuset-threads", false, "no effect: without --concurrency the CPUs the process may run on count always")
	f.Bool("enable-fine-grain-logging", false, "no effect: levels are set by component")
	return func() error {
		o.DrainTime, o.DrainNow = time.Duration(t.drain)*time.Second, t.drain == 0
		o.ParentShutdownTime = time.Duration(t.parentShutdown) * time.Second
		o.FileFlushInterval = time.Duration(t.flushInterval) * time.Millisecond
		for _, tag := range tags {
			name, value, ok := strings.Cut(tag, ":")
			if !ok || name == "" || value == "" {
				return fmt.Errorf("--stats-tag %q: want TAG:VALUE", tag)
			}
			o.StatsTags = append(o.StatsTags, stats.Tag{Name: name, Value: value})
		}
		return nil
	}
}

// addLogFlags adds the flags of the process's own log.
func addLogFlags(f *pflag.FlagSet, o *server.Options) {
	f.StringVarP(&o.LogLevel, "log-level", "l", "info", "`LEVEL`: trace, debug, info, warning, error, critical or off")
	f.StringVar(&o.ComponentLogLevel, "component-log-level", "", "`LIST` of components with another level: upstream:debug,http:trace")
	f.StringVar(&o.LogPath, "log-path", "", "`FILE` to append the log to; SIGUSR1 reopens it (default standard error)")
	f.StringVar(&o.LogFormat, "log-format", "", `the `+"`PATTERN`"+` of a line in the notation of spdlog, or json (default "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v")`)
	f.BoolVar(&o.LogFormatEscaped, "log-format-escaped", false, "write line breaks in messages as \\n: %v means %_")
}

// addHotRestartFlags adds Envoy's flags about hot restart, which start scripts pass.
func addHotRestartFlags(f *pflag.FlagSet, o *server.Options, t *timeFlags) {
	const none = "no effect: there is no hot restart yet"
	f.BoolVar(&o.DisableHotRestart, "disable-hot-restart", false, none)
	f.Uint32Var(&o.BaseID, "base-id", 0, none+"; `ID` is shown in /server_info")
	f.Bool("use-dynamic-base-id", false, none)
	f.String("base-id-path", "", none+"; `FILE`")
	f.Uint32Var(&o.RestartEpoch, "restart-epoch", 0, "`NUMBER` shown as server.hot_restart_epoch and in /server_info; "+none)
	f.Uint32Var(&t.parentShutdown, "parent-shutdown-time-s", uint32(server.DefaultParentShutdownTime/time.Second), "`SECONDS` shown in /server_info; "+none)
	f.Bool("skip-hot-restart-on-no-parent", false, none)
	f.Bool("skip-hot-restart-parent-stats", false, none)
	f.String("socket-path", "", none+"; `PATH`")
	f.Uint32("socket-mode", 0, none+"; `MODE`")
}
