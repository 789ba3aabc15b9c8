package xds

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the messages about sources of resources.
func Support() resource.Support {
	const core = "envoy.config.core.v3."
	return resource.Support{
		"envoy.config.bootstrap.v3.Bootstrap.DynamicResources": resource.Names("lds_config cds_config ads_config").
			No("lds_resources_locator cds_resources_locator", "use lds_config and cds_config"),
		core + "ConfigSource": resource.Names("path path_config_source api_config_source ads initial_fetch_timeout").
			No("authorities", "name the source itself").
			YesBut("self", "in the lrs_server of clusters; elsewhere use ads").
			YesBut("resource_api_version", "V2 is rejected"),
		core + "ApiConfigSource": resource.Names("api_type cluster_names refresh_delay request_timeout").
			Yes("rate_limit_settings set_node_on_first_message_only").
			YesBut("transport_api_version", "V3 only").
			YesBut("grpc_services", "exactly one").
			No("config_validators", ""),
		core + "AggregatedConfigSource": resource.Fields{},
		core + "SelfConfigSource":       resource.Fields{}.YesBut("transport_api_version", "V3, whatever it says"),
		core + "PathConfigSource":       resource.Names("path watched_directory poll_interval"),
		core + "RateLimitSettings":      resource.Names("max_tokens fill_rate"),
		core + "GrpcService": resource.Names("envoy_grpc google_grpc").
			NoEffect("timeout", "streams have no end").
			YesBut("initial_metadata", "texts without % commands").
			YesBut("retry_policy", "retry_back_off only"),
		core + "GrpcService.EnvoyGrpc": resource.Names("cluster_name authority max_receive_message_length").
			YesBut("retry_policy", "retry_back_off only").
			NoEffect("skip_envoy_headers", "no headers of Envoy's are added"),
		core + "GrpcService.GoogleGrpc": resource.Names("target_uri channel_credentials").
			NoEffect("stat_prefix", "the statistics are those of the source").
			No("call_credentials", "use initial_metadata").
			No("channel_credentials_plugin call_credentials_plugin credentials_factory_name config", "").
			No("per_stream_buffer_limit_bytes channel_args", ""),
		core + "GrpcService.GoogleGrpc.ChannelCredentials": resource.Names("ssl_credentials").
			No("google_default local_credentials", "use ssl_credentials, or none for plain text"),
		core + "GrpcService.GoogleGrpc.SslCredentials": resource.Names("root_certs private_key cert_chain"),
		core + "RetryPolicy": resource.Names("retry_back_off").
			NoEffect("num_retries", "a stream is opened anew without end").
			No("retry_on retry_priority retry_host_predicate host_selection_retry_max_attempts", ""),
		"envoy.service.runtime.v3.Runtime": resource.Names("name layer"),
	}
}
