package file

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the Bootstrap message and what only it holds.
func Support() resource.Support {
	return resource.Support{
		"envoy.config.bootstrap.v3.Bootstrap":                 bootstrapFields(),
		"envoy.config.bootstrap.v3.Bootstrap.StaticResources": resource.Names("listeners clusters secrets"),
		"envoy.config.bootstrap.v3.Admin": resource.Names("address allow_paths").
			NoEffect("ignore_global_conn_limit", "connections to the admin page never count").
			No("socket_options", "").
			NoEffect("access_log access_log_path", "requests to the admin page are not logged").
			NoEffect("profile_path", "profiles are at /debug/pprof"),
		"envoy.config.bootstrap.v3.ClusterManager": resource.Names("upstream_bind_config").
			NoEffect("local_cluster_name", "zone-aware routing is not supported").
			NoEffect("enable_deferred_cluster_creation", "clusters take memory only when they are used").
			No("outlier_detection", "outlier detection is not supported").
			Yes("load_stats_config"),
		"envoy.config.bootstrap.v3.LayeredRuntime": resource.Names("layers"),
		"envoy.config.bootstrap.v3.RuntimeLayer": resource.Names("name").
			YesBut("static_layer", "keys that a runtime_key names, "+RuntimeMaxConnections+" and "+RuntimeListenerLimit+"<name>"+RuntimeListenerLimitSuffix).
			Yes("admin_layer").
			YesBut("disk_layer", "files whose names begin with a dot are not read; at most 10,000 files of 64 KB").
			Yes("rtds_layer"),
		"envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer":         resource.Names("symlink_root subdirectory append_service_cluster"),
		"envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer":         resource.Names("name rtds_config"),
		"envoy.service.runtime.v3.Runtime":                         resource.Names("name layer"),
		"envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig": resource.Names("log_format"),
		"envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat": resource.Fields{}.
			YesBut("json_format", "selects JSON; the keys are fixed").
			YesBut("text_format", "the flags of the pattern that --log-format takes"),
		"envoy.config.metrics.v3.StatsConfig": resource.Names("stats_matcher histogram_bucket_settings").
			NoEffect("use_all_default_tags", "the default tags are always extracted").
			No("stats_tags allow_default_tag_overrides", "only the default tags are extracted"),
		"envoy.config.metrics.v3.StatsMatcher": resource.Names("reject_all exclusion_list inclusion_list"),
		"envoy.config.metrics.v3.HistogramBucketSettings": resource.Names("match buckets").
			No("bins", ""),
		"envoy.config.overload.v3.OverloadManager": resource.Names("resource_monitors").
			NoEffect("refresh_interval", "connections are counted as they come").
			No("actions loadshed_points buffer_factory_config", "only the downstream_connections monitor is supported"),
		"envoy.config.overload.v3.ResourceMonitor":                                                 resource.Names("name typed_config"),
		"envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": resource.Names("max_active_downstream_connections"),
		"envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer":                                        resource.Fields{},
		"envoy.extensions.regex_engines.v3.GoogleRE2":                                              resource.Fields{},
	}
}

func bootstrapFields() resource.Fields {
	return resource.Names("node static_resources cluster_manager layered_runtime stats_config stats_flush_interval admin "+
		"stats_flush_on_admin use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config application_log_config").
		YesBut("overload_manager", "the downstream_connections resource monitor only").
		YesBut("default_regex_engine", "RE2 only").
		YesBut("stats_flush_interval", "there are no sinks: it only sets when interval histograms start anew").
		YesBut("header_prefix", "x-envoy only, which is the default; anything else is an error").
		NoEffect("stats_eviction_interval", "statistics are kept").
		NoEffect("deferred_stat_options", "statistics take memory only when they are used").
		NoEffect("watchdog watchdogs", "the Go runtime has no threads to watch").
		NoEffect("flags_path", "there are no flag files").
		NoEffect("enable_dispatcher_stats", "there are no dispatchers").
		NoEffect("stats_server_version_override", "server.version is the version of Weft").
		NoEffect("inline_headers", "all headers are as fast").
		NoEffect("memory_allocator_manager", "memory is the Go runtime's; set GOMEMLIMIT").
		NoEffect("grpc_async_client_manager_config", "there are no gRPC services to call").
		NoEffect("perf_tracing_file_path", "profiles are at /debug/pprof").
		NoEffect("enable_worker_cpu_affinity", "the Go runtime places its threads").
		NoEffect("node_context_params", "it speaks to control planes only").
		Yes("dynamic_resources").
		No("config_sources default_config_source", "xdstp authorities are not supported; use dynamic_resources").
		No("xds_delegate_extension xds_config_tracker_extension", "").
		No("hds_config", "health discovery is not supported").
		No("stats_sinks", "scrape /stats/prometheus").
		No("tracing", "tracing is not supported").
		No("bootstrap_extensions default_socket_interface listener_manager fatal_actions", "").
		No("certificate_provider_instances", "")
}
