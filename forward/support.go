package forward

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the router's message.
func Support() resource.Support {
	const pkg = "envoy.extensions.filters.http.router.v3."
	return resource.Support{
		pkg + "Router": resource.Names("dynamic_stats suppress_envoy_headers strict_check_headers respect_expected_rq_timeout upstream_log "+
			"suppress_grpc_request_failure_code_stats").
			No("start_child_span", "there is no tracing yet").
			No("upstream_log_options", "an entry is written at the end of each attempt").
			No("upstream_http_filters", "filters run once for each exchange; put them into http_filters").
			NoEffect("reject_connect_request_early_data", "there is no HTTP/3 yet"),
		pkg + "Router.UpstreamAccessLogOptions": resource.Fields{}.
			No("flush_upstream_log_on_upstream_stream upstream_log_flush_interval", "an entry is written at the end of each attempt"),
	}
}
