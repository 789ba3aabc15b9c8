package listener

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the listener messages.
func Support() resource.Support {
	const pkg = "envoy.config.listener.v3."
	return resource.Support{
		pkg + "Listener": resource.Names("name address additional_addresses stat_prefix filter_chains default_filter_chain").
			Yes("listener_filters listener_filters_timeout continue_on_listener_filters_timeout bind_to_port deprecated_v1").
			Yes("transparent freebind tcp_fast_open_queue_length tcp_backlog_size tcp_keepalive traffic_direction access_log").
			Yes("ignore_global_conn_limit metadata").
			YesBut("drain_type", "told to the admin interface; draining by a failed health check concerns all listeners").
			YesBut("socket_options", "options of STATE_BOUND are set once the socket listens").
			YesBut("enable_reuse_port", "only an explicit true opens one socket for each unit of --concurrency; by default one socket serves all").
			YesBut("per_connection_buffer_limit_bytes", "bounds what is buffered for retries; streaming holds one chunk at a time").
			NoEffect("max_connections_to_accept_per_socket_event", "connections are accepted one at a time").
			NoEffect("connection_balance_config", "connections are goroutines, which the Go scheduler balances over threads").
			NoEffect("bypass_overload_manager", "the only overload action is the limit of connections; see ignore_global_conn_limit").
			NoEffect("reuse_port", "replaced by enable_reuse_port").
			No("use_original_dst", "redirected connections are not handed over yet").
			No("udp_listener_config", "only TCP and unix sockets are supported").
			No("api_listener", "").
			No("internal_listener", "internal listeners are not supported").
			No("fcds_config", "give the filter chains inline").
			No("filter_chain_matcher", "use filter_chain_match in each filter chain").
			No("stats_matcher", "use stats_config.stats_matcher of the bootstrap").
			No("per_connection_buffer_high_watermark_timeout", "use the idle timeouts of the connection manager or the TCP proxy").
			No("enable_mptcp", ""),
		pkg + "Listener.DeprecatedV1": resource.Names("bind_to_port"),
		pkg + "AdditionalAddress":     resource.Names("address socket_options tcp_keepalive"),
		pkg + "FilterChain": resource.Names("filter_chain_match filters metadata name").
			Yes("transport_socket").
			YesBut("transport_socket_connect_timeout", "where it is absent a handshake may take 15 s; 0 s is for ever").
			No("use_proxy_proto", "add the listener filter envoy.filters.listener.proxy_protocol"),
		pkg + "FilterChainMatch": resource.Names("destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges").
			Yes("source_ports server_names transport_protocol application_protocols").
			No("address_suffix suffix_len", "Envoy does not implement it either"),
		pkg + "Filter":         resource.Names("name typed_config").No("config_discovery", "give typed_config inline"),
		pkg + "ListenerFilter": resource.Names("name typed_config filter_disabled").No("config_discovery", "give typed_config inline"),
		pkg + "ListenerFilterChainMatchPredicate": resource.Names(
			"or_match and_match not_match any_match destination_port_range"),
		pkg + "ListenerFilterChainMatchPredicate.MatchSet": resource.Names("rules"),
	}
}
