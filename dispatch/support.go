package dispatch

import "github.com/weftproxy/weft/resource"

// Support says which fields of the connection manager are honoured.
func Support() resource.Support {
	const pkg = "envoy.extensions.filters.network.http_connection_manager.v3."
	return resource.Support{
		pkg + "HttpConnectionManager": resource.Names(`stat_prefix http_filters route_config rds scoped_routes add_user_agent
			common_http_protocol_options http_protocol_options server_header_transformation
			scheme_header_transformation max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout
			delayed_close_timeout access_log access_log_options use_remote_address xff_num_trusted_hops
			internal_address_config skip_xff_append via generate_request_id preserve_external_request_id
			always_set_request_id_in_response proxy_100_continue represent_ipv4_remote_address_as_ipv4_mapped_ipv6
			upgrade_configs normalize_path merge_slashes path_with_escaped_slashes_action local_reply_config
			strip_matching_host_port strip_any_host_port strip_trailing_host_dot stream_error_on_invalid_http_message
			append_x_forwarded_port forward_proto_config flush_access_log_on_new_request codec_type
			http2_protocol_options forward_client_cert_details set_current_client_cert_details`).
			YesBut("server_name", `the default is "weft"`).
			YesBut("drain_timeout", "HTTP/1.1 connections end with the response that says so, and need no grace period").
			No("codec_type=HTTP3", "HTTP/3 is not supported yet").
			No("drain_timeout_jitter", "drain_timeout is the same for all connections").
			NoEffect("http1_safe_max_connection_duration", "HTTP/1.1 connections always end between two exchanges").
			NoEffect("append_local_overload", "there is no overload manager whose overload could be told").
			NoEffect("add_proxy_protocol_connection_state", "nothing reads that filter state yet").
			No("http3_protocol_options", "HTTP/3 is not supported yet").
			No("tracing", "tracing is not supported yet").
			No("stream_flush_timeout", "stream_idle_timeout covers the flush").
			No("access_log_flush_interval", "use access_log_options; periodic entries are not supported yet").
			No("original_ip_detection_extensions early_header_mutation_extensions typed_header_validation_config", "").
			No("forward_client_cert_matcher", "use forward_client_cert_details").
			No("request_id_extension", "request IDs are UUIDs").
			No("path_normalization_options", "use normalize_path and merge_slashes").
			No("proxy_status_config record_route_resolution_stats", ""),
		pkg + "HttpConnectionManager.InternalAddressConfig": resource.Names("unix_sockets cidr_ranges"),
		pkg + "HttpConnectionManager.SetCurrentClientCertDetails": resource.Names("subject cert chain dns uri format").
			No("issuer", "the issuer is in cert").
			No("format=JSON", "x-forwarded-client-cert is written as text"),
		pkg + "HttpConnectionManager.UpgradeConfig": resource.Names("upgrade_type enabled").
			No("filters", "the connection manager's own http_filters are used for upgrades"),
		pkg + "HttpConnectionManager.HcmAccessLogOptions": resource.Names("flush_access_log_on_new_request").
			No("access_log_flush_interval flush_log_on_tunnel_successfully_established", "access logs are written at the end of an exchange"),
		pkg + "ForwardProtoConfig": resource.Names("https_destination_ports http_destination_ports"),
		pkg + "LocalReplyConfig":   resource.Names("mappers body_format"),
		pkg + "ResponseMapper":     resource.Names("filter status_code body body_format_override headers_to_add"),
		pkg + "HttpFilter": resource.Names("name typed_config is_optional disabled").
			YesBut("config_discovery", "not for the last filter"),
		pkg + "ScopedRoutes":                                                                resource.Names("name scope_key_builder rds_config_source scoped_route_configurations_list scoped_rds"),
		pkg + "ScopedRoutes.ScopeKeyBuilder":                                                resource.Names("fragments"),
		pkg + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder":                                resource.Names("header_value_extractor"),
		pkg + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor":           resource.Names("name element_separator index element"),
		pkg + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement": resource.Names("separator key"),
		pkg + "ScopedRouteConfigurationsList":                                               resource.Names("scoped_route_configurations"),
		pkg + "ScopedRds":                                                                   resource.Names("scoped_rds_config_source srds_resources_locator"),
		pkg + "Rds":                                                                         resource.Names("config_source route_config_name"),
		"envoy.config.core.v3.ExtensionConfigSource": resource.Names(`config_source default_config type_urls
			apply_default_config_without_warming`),
		"envoy.config.core.v3.HttpProtocolOptions": resource.Names(`idle_timeout max_connection_duration max_headers_count
			max_response_headers_kb max_stream_duration headers_with_underscores_action max_requests_per_connection`).
			No("max_connection_duration_jitter", ""),
		"envoy.config.core.v3.SchemeHeaderTransformation": resource.Names("scheme_to_overwrite match_upstream"),
		"envoy.config.core.v3.Http1ProtocolOptions": resource.Names(`allow_absolute_url accept_http_10 default_host_for_http_10
			header_key_format enable_trailers allow_chunked_length override_stream_error_on_invalid_http_message
			send_fully_qualified_url allow_custom_methods ignore_http_11_upgrade`).
			NoEffect("use_balsa_parser", "the codec is Weft's own"),
		"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat": resource.Names("proper_case_words").
			YesBut("stateful_formatter", "preserve_case: spelling is always preserved between HTTP/1 peers"),
		"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords": {},
		"envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": resource.Fields{}.
			No("forward_reason_phrase formatter_type_on_envoy_headers", ""),
	}
}
