package grpcjson

import (
	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

// Extension is the HTTP filter. A route's configuration takes the place of the filter's as a whole.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{
		Name: "envoy.filters.http.grpc_json_transcoder", Config: &transcoderv3.GrpcJsonTranscoder{},
		Override: &transcoderv3.GrpcJsonTranscoder{},
		New: func(env *extension.Env, cfg proto.Message) (exchange.Filter, error) {
			return New(env, cfg.(*transcoderv3.GrpcJsonTranscoder))
		},
		ForRoute: func(env *extension.Env, _ exchange.Filter, override proto.Message) (exchange.Filter, error) {
			return New(env, override.(*transcoderv3.GrpcJsonTranscoder))
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	const pkg = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
	return resource.Support{
		pkg: resource.Names("services print_options match_incoming_request_route ignored_query_parameters auto_mapping "+
			"ignore_unknown_query_parameters convert_grpc_status url_unescape_spec query_param_unescape_plus match_unregistered_custom_verb "+
			"request_validation_options case_insensitive_enum_parsing max_request_body_size max_response_body_size "+
			"capture_unknown_query_parameters proto_descriptor_bin").
			YesBut("proto_descriptor", "the file is read with the configuration; a reload reads it again"),
		pkg + ".PrintOptions": resource.Names("always_print_primitive_fields always_print_enums_as_ints preserve_proto_field_names "+
			"stream_newline_delimited stream_sse_style_delimited").
			YesBut("add_whitespace", "messages of streams stay on one line each"),
		pkg + ".RequestValidationOptions": resource.Names("reject_unknown_method reject_unknown_query_parameters " +
			"reject_binding_body_field_collisions"),
	}
}
