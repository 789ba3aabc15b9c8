package upstream

import "github.com/weftproxy/weft/resource"

const (
	later   = "not supported yet"
	noHTTP3 = "HTTP/3 is not supported yet"
	policy  = "envoy.extensions.load_balancing_policies."
)

// Support says which fields of clusters and endpoints are honoured.
func Support() resource.Support {
	const pkg = "envoy.config.cluster.v3."
	s := resource.Support{
		pkg + "Cluster":                  cluster(),
		pkg + "Cluster.EdsClusterConfig": resource.Names("eds_config service_name"),
		pkg + "Cluster.CommonLbConfig": resource.Names(`healthy_panic_threshold locality_weighted_lb_config zone_aware_lb_config
			ignore_new_hosts_until_first_hc close_connections_on_host_set_change`).
			NoEffect("update_merge_window", "health, weights and metadata take effect at once").
			No("consistent_hashing_lb_config override_host_status", later),
		pkg + "Cluster.CommonLbConfig.LocalityWeightedLbConfig": {},
		pkg + "Cluster.CommonLbConfig.ZoneAwareLbConfig": resource.Names("fail_traffic_on_panic").
			NoEffect("routing_enabled min_cluster_size", "zone aware routing needs a local cluster, of which there is none"),
		pkg + "Cluster.LeastRequestLbConfig": resource.Names("choice_count").
			YesBut("active_request_bias", "where weights differ, hosts are drawn by weight and compared by active^bias / weight").
			No("slow_start_config", later),
		pkg + "Cluster.RoundRobinLbConfig": resource.Fields{}.No("slow_start_config", later),
		pkg + "Cluster.RefreshRate":        resource.Names("base_interval max_interval"),
		pkg + "CircuitBreakers":            resource.Names("thresholds per_host_thresholds"),
		pkg + "CircuitBreakers.Thresholds": resource.Names("priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining").
			No("max_connection_pools", "a host has at most 512 pools"),
		pkg + "CircuitBreakers.Thresholds.RetryBudget": resource.Names("budget_percent min_retry_concurrency").No("budget_interval", later),
		pkg + "TrackClusterStats":                      resource.Fields{}.No("timeout_budgets request_response_sizes per_endpoint_stats", later),
		pkg + "Cluster.TransportSocketMatch":           resource.Names("name match transport_socket"),
		pkg + "UpstreamConnectionOptions": resource.Names("tcp_keepalive").
			No("set_local_interface_name_on_upstream_connections", "").No("happy_eyeballs_config", "addresses are tried one by one, as hosts"),
		pkg + "LoadBalancingPolicy":        resource.Fields{}.YesBut("policies", "the first one counts"),
		pkg + "LoadBalancingPolicy.Policy": resource.Names("typed_extension_config"),
	}
	for _, more := range []resource.Support{endpoints(), checks(), extensions(), HTTP2Support()} {
		for name, fields := range more {
			s[name] = fields
		}
	}
	return s
}

func cluster() resource.Fields {
	return resource.Names(`name alt_stat_name type connect_timeout per_connection_buffer_limit_bytes lb_policy load_assignment
		max_requests_per_connection circuit_breakers common_http_protocol_options http_protocol_options http2_protocol_options
		protocol_selection upstream_http_protocol_options transport_socket transport_socket_matches typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate respect_dns_ttl dns_lookup_family
		dns_resolvers use_tcp_for_dns_lookups dns_resolution_config wait_for_warm_on_init upstream_bind_config
		least_request_lb_config round_robin_lb_config common_lb_config metadata upstream_connection_options
		close_connections_on_host_health_failure ignore_health_on_host_removal load_balancing_policy track_cluster_stats`).
		YesBut("health_checks", "one for each cluster").
		YesBut("typed_dns_resolver_config", "every kind means the built-in resolver").
		YesBut("lb_policy=LEAST_REQUEST", "where weights differ, hosts are drawn by weight and compared by load").
		No("type=ORIGINAL_DST", later).
		No("lb_policy=RING_HASH lb_policy=MAGLEV lb_policy=CLUSTER_PROVIDED", "ROUND_ROBIN, LEAST_REQUEST or RANDOM").
		No("lb_policy=LOAD_BALANCING_POLICY_CONFIG", "leave lb_policy out and give load_balancing_policy").
		No("cluster_type", "use type").
		Yes("eds_cluster_config").
		YesBut("lrs_server", "self: it counts where the bootstrap has no load_stats_config").
		No("transport_socket_matcher", "use transport_socket_matches").
		NoEffect("cleanup_interval", "it is for ORIGINAL_DST clusters").
		No("per_connection_buffer_high_watermark_timeout", later).
		No("stats_matcher", "use the bootstrap's stats_config").
		No("outlier_detection lb_subset_config ring_hash_lb_config maglev_lb_config original_dst_lb_config", later).
		No("filters upstream_config lrs_report_endpoint_metrics track_timeout_budgets preconnect_policy queuing_policies", later).
		No("connection_pool_per_downstream_connection", later)
}

func endpoints() resource.Support {
	const pkg = "envoy.config.endpoint.v3."
	return resource.Support{
		pkg + "ClusterLoadAssignment": resource.Names("endpoints policy").
			YesBut("cluster_name", "the cluster's own name counts").
			No("named_endpoints", "give the endpoints where they are used"),
		pkg + "ClusterLoadAssignment.Policy": resource.Names("overprovisioning_factor").
			YesBut("drop_overloads", "one category").
			YesBut("endpoint_stale_after", "of clusters of type EDS").
			No("weighted_priority_health", later),
		pkg + "ClusterLoadAssignment.Policy.DropOverload": resource.Names("category drop_percentage"),
		pkg + "LocalityLbEndpoints": resource.Names("locality metadata lb_endpoints load_balancing_weight priority").
			NoEffect("proximity", "nothing reads it, in Envoy either").
			No("load_balancer_endpoints leds_cluster_locality_config", "use lb_endpoints"),
		pkg + "LbEndpoint": resource.Names("endpoint health_status metadata load_balancing_weight").
			No("endpoint_name", "give the endpoint where it is used"),
		pkg + "Endpoint": resource.Names("address health_check_config hostname").
			No("additional_addresses", "name each address as an endpoint").
			NoEffect("observability_name", "hosts are shown by address"),
		pkg + "Endpoint.HealthCheckConfig": resource.Names("port_value hostname address disable_active_health_check"),
	}
}

func checks() resource.Support {
	const pkg = "envoy.config.core.v3."
	return resource.Support{
		pkg + "HealthCheck": resource.Names(`name timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold
			healthy_threshold alt_port reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval
			no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval healthy_edge_interval`).
			No("custom_health_check", "http_health_check, tcp_health_check or grpc_health_check").
			No("event_log_path event_logger event_service always_log_health_check_failures always_log_health_check_success", "health events are not logged").
			Yes("tls_options transport_socket_match_criteria"),
		pkg + "HealthCheck.TlsOptions": resource.Names("alpn_protocols"),
		pkg + "HealthCheck.HttpHealthCheck": resource.Names(`host path receive response_buffer_size request_headers_to_add
			request_headers_to_remove expected_statuses retriable_statuses codec_client_type use_alpn_protocol`).
			YesBut("method", "CONNECT is refused").
			No("codec_client_type=HTTP3", noHTTP3).
			No("service_name_matcher send", ""),
		pkg + "HealthCheck.GrpcHealthCheck": resource.Names("service_name authority initial_metadata"),
		pkg + "HealthCheck.TcpHealthCheck":  resource.Names("send receive").No("proxy_protocol_config", later),
		pkg + "HealthCheck.Payload":         resource.Names("text binary"),
	}
}

func extensions() resource.Support {
	slow := func(fields string) resource.Fields {
		return resource.Names("locality_lb_config "+fields).No("slow_start_config", later)
	}
	return resource.Support{
		optionsKey: resource.Names("common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config").
			Yes("upstream_http_protocol_options").
			No("http_filters header_validation_config outlier_detection request_mirror_policies hash_policy retry_policy", later),
		optionsKey + ".ExplicitHttpConfig": resource.Names("http_protocol_options http2_protocol_options").No("http3_protocol_options", noHTTP3),
		optionsKey + ".AutoHttpConfig": resource.Names("http_protocol_options http2_protocol_options").
			No("http3_protocol_options alternate_protocols_cache_options", noHTTP3),
		"envoy.config.core.v3.UpstreamHttpProtocolOptions": resource.Names("auto_sni auto_san_validation override_auto_sni_header"),
		optionsKey + ".UseDownstreamHttpConfig":            resource.Names("http_protocol_options http2_protocol_options").No("http3_protocol_options", noHTTP3),

		policy + "round_robin.v3.RoundRobin": slow(""),
		policy + "random.v3.Random":          resource.Names("locality_lb_config"),
		policy + "least_request.v3.LeastRequest": slow("choice_count active_request_bias selection_method").
			No("enable_full_scan selection_method=FULL_SCAN", "N_CHOICES"),
		policy + "common.v3.LocalityLbConfig":                          resource.Names("locality_weighted_lb_config zone_aware_lb_config"),
		policy + "common.v3.LocalityLbConfig.LocalityWeightedLbConfig": {},
		policy + "common.v3.LocalityLbConfig.ZoneAwareLbConfig": resource.Names("fail_traffic_on_panic").
			NoEffect("routing_enabled min_cluster_size force_locality_direct_routing force_local_zone locality_basis",
				"zone aware routing needs a local cluster, of which there is none"),

		"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": {},
		"envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": resource.Fields{}.
			NoEffect("num_retries num_resolver_threads", "the built-in resolver is used"),
		"envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": resource.Names("resolvers dns_resolver_options query_timeout_seconds query_tries").
			NoEffect("udp_max_queries max_udp_channel_duration reinit_channel_on_timeout edns0_max_payload_size qcache_max_ttl",
				"every query has a socket of its own, and nothing is cached").
			NoEffect("rotate_nameservers", "servers are asked in order").
			No("use_resolvers_as_fallback filter_unroutable_families", ""),
	}
}
