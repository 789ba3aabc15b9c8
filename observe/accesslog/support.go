package accesslog

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the access log messages.
func Support() resource.Support {
	const pkg = "envoy.config.accesslog.v3."
	s := resource.Support{
		pkg + "AccessLog": resource.Names("name filter typed_config"),
		pkg + "AccessLogFilter": resource.Names("status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter").
			Yes("header_filter response_flag_filter grpc_status_filter metadata_filter log_type_filter").
			No("traceable_filter", "there is no tracing yet").
			No("extension_filter", "combine the built-in filters with and_filter and or_filter"),
		pkg + "ComparisonFilter":     resource.Names("op value"),
		pkg + "StatusCodeFilter":     resource.Names("comparison"),
		pkg + "DurationFilter":       resource.Names("comparison"),
		pkg + "NotHealthCheckFilter": resource.Fields{},
		pkg + "RuntimeFilter":        resource.Names("runtime_key percent_sampled use_independent_randomness"),
		pkg + "AndFilter":            resource.Names("filters"),
		pkg + "OrFilter":             resource.Names("filters"),
		pkg + "HeaderFilter":         resource.Names("header"),
		pkg + "ResponseFlagFilter":   resource.Names("flags"),
		pkg + "GrpcStatusFilter":     resource.Names("statuses exclude"),
		pkg + "MetadataFilter":       resource.Names("matcher match_if_key_not_found"),
		pkg + "LogTypeFilter": resource.Names("types exclude").
			NoEffect("types=UpstreamPoolReady types=UpstreamPeriodic", "no entry of this type is written").
			NoEffect("types=UdpTunnelUpstreamConnected types=UdpPeriodic types=UdpSessionEnd", "no entry of this type is written"),
	}
	const file, stream = "envoy.extensions.access_loggers.file.v3.", "envoy.extensions.access_loggers.stream.v3."
	s[file+"FileAccessLog"] = resource.Names("path log_format").Yes("format json_format typed_json_format")
	s[stream+"StdoutAccessLog"] = resource.Names("log_format")
	s[stream+"StderrAccessLog"] = resource.Names("log_format")
	return s
}
