package als

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the messages about gRPC access logs.
func Support() resource.Support {
	const pkg, tracing, metadata = "envoy.extensions.access_loggers.grpc.v3.", "envoy.type.tracing.v3.", "envoy.type.metadata.v3."
	return resource.Support{
		pkg + "HttpGrpcAccessLogConfig": resource.Names("common_config additional_request_headers_to_log").
			Yes("additional_response_headers_to_log additional_response_trailers_to_log"),
		pkg + "TcpGrpcAccessLogConfig": resource.Names("common_config"),
		pkg + "CommonGrpcAccessLogConfig": resource.Names("log_name buffer_flush_interval custom_tags").
			YesBut("grpc_service", "envoy_grpc only").
			YesBut("transport_api_version", "V3 only").
			YesBut("buffer_size_bytes", "1 MiB at most").
			YesBut("grpc_stream_retry_policy", "retry_back_off only; a stream is opened anew without end").
			No("filter_state_objects_to_log", "filter state is text here; use custom_tags with %FILTER_STATE(...)%"),
		tracing + "CustomTag": resource.Names("tag literal environment request_header metadata value").
			NoEffect("value_type", "an entry's tags are texts"),
		tracing + "CustomTag.Literal":     resource.Names("value"),
		tracing + "CustomTag.Environment": resource.Names("name default_value"),
		tracing + "CustomTag.Header":      resource.Names("name default_value"),
		tracing + "CustomTag.Metadata":    resource.Names("kind metadata_key default_value"),
		metadata + "MetadataKind":         resource.Names("request route cluster host"),
		metadata + "MetadataKind.Request": resource.Fields{},
		metadata + "MetadataKind.Route":   resource.Fields{},
		metadata + "MetadataKind.Cluster": resource.Fields{},
		metadata + "MetadataKind.Host":    resource.Fields{},
		metadata + "MetadataKey":          resource.Names("key path"),

		metadata + "MetadataKey.PathSegment": resource.Names("key").No("index", "use custom_tags with a value"),
	}
}
