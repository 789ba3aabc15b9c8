package route

import "github.com/weftproxy/weft/resource"

// Support returns what Weft does with each field of the messages that route tables are made of. The plain values and matchers among
// them are in resource.Values, resource.Matchers and resource.Core.
func Support() resource.Support {
	s := resource.Support{}
	for _, part := range []resource.Support{tables(), routes(), actions(), retries()} {
		for name, fields := range part {
			s[name] = fields
		}
	}
	return s
}

const pkg = "envoy.config.route.v3."

// Reasons that several fields share.
const (
	noExtension = "Weft has no such extensions"
	noTracing   = "there is no tracing yet"
	noLimits    = "there is no rate limit filter yet"
	noCORS      = "there is no CORS filter yet"
	noMirrors   = "requests are not mirrored yet"
	noHedging   = "requests are not hedged yet"
	noHashing   = "there are no consistent load balancers yet"
	noSubsets   = "there are no load balancer subsets yet"
	noReader    = "nothing reads it"
)

func tables() resource.Support {
	const mutations = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "
	return resource.Support{
		pkg + "RouteConfiguration": resource.Names(mutations+"name virtual_hosts internal_only_headers most_specific_header_mutations_wins validate_clusters "+
			"max_direct_response_body_size_bytes ignore_port_in_host_matching ignore_path_parameters_in_path_matching typed_per_filter_config vhds").
			NoEffect("metadata", noReader).
			No("cluster_specifier_plugins route_specifiers", noExtension).
			No("request_mirror_policies", noMirrors).
			No("vhost_header", "virtual hosts are found by the authority"),
		pkg + "VirtualHost": resource.Names(mutations+"name domains routes require_tls virtual_clusters typed_per_filter_config include_request_attempt_count "+
			"include_attempt_count_in_response retry_policy per_request_buffer_limit_bytes request_body_buffer_limit").
			NoEffect("metadata", noReader).
			No("matcher", "use routes").
			No("rate_limits", noLimits).
			No("cors", noCORS).
			No("retry_policy_typed_config", "use retry_policy").
			No("hedge_policy", noHedging).
			No("include_is_timeout_retry_header", "").
			No("request_mirror_policies", noMirrors).
			No("route_specifiers", noExtension),
		pkg + "Route": resource.Names(mutations+"name match route redirect direct_response metadata decorator typed_per_filter_config "+
			"per_request_buffer_limit_bytes request_body_buffer_limit stat_prefix").
			No("filter_action", noExtension).
			No("non_forwarding_action", "it is for gRPC servers; use direct_response").
			No("tracing", noTracing).
			No("route_specifiers", noExtension),
		pkg + "Vhds": resource.Names("config_source"),
		pkg + "ScopedRouteConfiguration": resource.Names("name route_configuration_name route_configuration key").
			YesBut("on_demand", "the routes are subscribed to at once, not with the first request"),
		pkg + "ScopedRouteConfiguration.Key":          resource.Names("fragments"),
		pkg + "ScopedRouteConfiguration.Key.Fragment": resource.Names("string_key"),
		pkg + "FilterConfig":                          resource.Names("config is_optional disabled"),
		pkg + "Decorator":                             resource.Fields{}.NoEffect("operation propagate", "it names spans, and "+noTracing),
		pkg + "VirtualCluster":                        resource.Names("headers name"),
	}
}

func routes() resource.Support {
	return resource.Support{
		pkg + "RouteMatch": resource.Names("prefix path path_separated_prefix safe_regex connect_matcher case_sensitive runtime_fraction headers query_parameters "+
			"cookies grpc tls_context").
			No("path_match_policy", "use safe_regex").
			No("dynamic_metadata filter_state", "match on a header instead"),
		pkg + "RouteMatch.GrpcRouteMatchOptions":  resource.Fields{},
		pkg + "RouteMatch.TlsContextMatchOptions": resource.Names("presented validated"),
		pkg + "RouteMatch.ConnectMatcher":         resource.Fields{},
		pkg + "HeaderMatcher": resource.Names("name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match " +
			"invert_match treat_missing_header_as_empty"),
		pkg + "QueryParameterMatcher": resource.Names("name string_match present_match"),
		pkg + "CookieMatcher":         resource.Names("name string_match invert_match"),
	}
}

func actions() resource.Support {
	return resource.Support{
		pkg + "RouteAction": resource.Names("cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite "+
			"host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout retry_policy priority "+
			"upgrade_configs max_stream_duration max_grpc_timeout grpc_timeout_offset").
			No("cluster_specifier_plugin inline_cluster_specifier_plugin", noExtension).
			No("metadata_match", noSubsets).
			No("path_rewrite_policy path_rewrite", "use regex_rewrite").
			No("host_rewrite", "use host_rewrite_literal").
			No("flush_timeout", "the connection manager's stream idle timeout covers it").
			No("early_data_policy", "no early data is taken from clients").
			No("retry_policy_typed_config", "use retry_policy").
			No("request_mirror_policies", noMirrors).
			No("rate_limits include_vh_rate_limits", noLimits).
			No("hash_policy", noHashing).
			No("cors", noCORS).
			No("internal_redirect_policy internal_redirect_action max_internal_redirects", "redirects go to the client").
			No("hedge_policy", noHedging),
		pkg + "RouteAction.MaxStreamDuration": resource.Names("max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset"),
		pkg + "RouteAction.UpgradeConfig":     resource.Names("upgrade_type enabled connect_config"),
		pkg + "RouteAction.UpgradeConfig.ConnectConfig": resource.Fields{}.
			No("proxy_protocol_config", "put a PROXY protocol transport socket on the cluster").
			No("allow_post", "use CONNECT"),
		pkg + "WeightedCluster": resource.Names("clusters header_name runtime_key_prefix").
			NoEffect("total_weight", "the weights are added up").
			No("use_hash_policy", noHashing),
		pkg + "WeightedCluster.ClusterWeight": resource.Names("name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add "+
			"response_headers_to_remove host_rewrite_literal").
			No("metadata_match", noSubsets).
			No("typed_per_filter_config", "put it on the route"),
		pkg + "RedirectAction": resource.Names("https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code "+
			"strip_query").
			No("path_rewrite", "use regex_rewrite"),
		pkg + "DirectResponseAction": resource.Names("status body").No("body_format", "use body"),
	}
}

func retries() resource.Support {
	return resource.Support{
		pkg + "RetryPolicy": resource.Names("retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts "+
			"retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers retriable_request_headers").
			No("retry_priority", "hosts of all priorities are tried in order").
			No("retry_options_predicates", noExtension).
			No("refresh_cluster_on_retry", "a retry goes to the cluster that was chosen first"),
		pkg + "RetryPolicy.RetryHostPredicate":      resource.Names("name typed_config"),
		pkg + "RetryPolicy.RetryBackOff":            resource.Names("base_interval max_interval"),
		pkg + "RetryPolicy.RateLimitedRetryBackOff": resource.Names("reset_headers max_interval"),
		pkg + "RetryPolicy.ResetHeader":             resource.Names("name format"),
		previousHosts:                               resource.Fields{},
	}
}
