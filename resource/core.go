package resource

import (
	"maps"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Values returns the Support of the plain value types in envoy.type.v3.
func Values() Support {
	return Support{
		"envoy.type.v3.DoubleRange":       Names("start end"),
		"envoy.type.v3.FractionalPercent": Names("numerator denominator"),
		"envoy.type.v3.HttpStatus":        Names("code"),
		"envoy.type.v3.Int32Range":        Names("start end"),
		"envoy.type.v3.Int64Range":        Names("start end"),
		"envoy.type.v3.Percent":           Names("value"),
		"envoy.type.v3.SemanticVersion":   Names("major_number minor_number patch"),
		"envoy.type.v3.TokenBucket":       Names("max_tokens tokens_per_fill fill_interval"),
	}
}

// Matchers returns the Support of the matchers in envoy.type.matcher.v3, which package match implements.
func Matchers() Support {
	return Support{
		"envoy.type.matcher.v3.DoubleMatcher":      Names("range exact"),
		"envoy.type.matcher.v3.ListMatcher":        Names("one_of"),
		"envoy.type.matcher.v3.ListStringMatcher":  Names("patterns"),
		"envoy.type.matcher.v3.MetadataMatcher":    Names("filter path value invert"),
		"envoy.type.matcher.v3.OrMatcher":          Names("value_matchers"),
		"envoy.type.matcher.v3.PathMatcher":        Names("path"),
		"envoy.type.matcher.v3.StringMatcher":      Names("exact prefix suffix safe_regex contains ignore_case").No("custom", "use safe_regex"),
		"envoy.type.matcher.v3.StructMatcher":      Names("path value"),
		"envoy.type.matcher.v3.ValueMatcher":       Names("null_match double_match string_match bool_match present_match list_match or_match"),
		"envoy.type.matcher.v3.RegexMatcher":       Names("regex").NoEffect("google_re2", "RE2 syntax is the only one there is"),
		"envoy.type.matcher.v3.AddressMatcher":     Names("ranges invert_match"),
		"envoy.type.matcher.v3.FilterStateMatcher": Names("key string_match address_match"),

		"envoy.type.matcher.v3.MetadataMatcher.PathSegment": Names("key"),
		"envoy.type.matcher.v3.RegexMatchAndSubstitute":     Names("pattern substitution"),
		"envoy.type.matcher.v3.StructMatcher.PathSegment":   Names("key"),
		"envoy.type.matcher.v3.ValueMatcher.NullMatch":      Fields{},
		"envoy.type.matcher.v3.RegexMatcher.GoogleRE2":      Fields{}.NoEffect("max_program_size", "matching takes linear time whatever the size"),
	}
}

// Core returns the Support of the messages in envoy.config.core.v3 that many others hold.
func Core() Support {
	s := Support{
		"envoy.config.core.v3.BackoffStrategy":      Names("base_interval max_interval"),
		"envoy.config.core.v3.BuildVersion":         Names("version metadata"),
		"envoy.config.core.v3.CidrRange":            Names("address_prefix prefix_len"),
		"envoy.config.core.v3.HeaderMap":            Names("headers"),
		"envoy.config.core.v3.HeaderValue":          Names("key value raw_value"),
		"envoy.config.core.v3.HeaderValueOption":    Names("header append append_action keep_empty_value"),
		"envoy.config.core.v3.JsonFormatOptions":    Names("sort_properties"),
		"envoy.config.core.v3.KeepaliveSettings":    Names("interval timeout interval_jitter connection_idle_interval"),
		"envoy.config.core.v3.Locality":             Names("region zone sub_zone"),
		"envoy.config.core.v3.QueryParameter":       Names("key value"),
		"envoy.config.core.v3.TransportSocket":      Names("name typed_config"),
		"envoy.config.core.v3.TypedExtensionConfig": Names("name typed_config"),
		"envoy.config.core.v3.TlvEntry":             Names("type value").No("format_string", ""),

		"envoy.config.core.v3.Metadata": Names("filter_metadata").No("typed_filter_metadata", "use filter_metadata"),
		"envoy.config.core.v3.Node": Names("id cluster metadata locality").
			NoEffect("user_agent_name user_agent_version user_agent_build_version extensions client_features listening_addresses",
				"Weft says so of itself").
			No("dynamic_parameters", "xdstp context parameters are not supported"),
		"envoy.config.core.v3.DataSource": Names("filename inline_bytes inline_string environment_variable").
			No("watched_directory", "files are read with the configuration; a reload reads them again"),
		"envoy.config.core.v3.SubstitutionFormatString": Names("text_format json_format text_format_source omit_empty_values content_type json_format_options").
			No("formatters", "use the built-in command operators"),
	}
	maps.Copy(s, sockets())
	for _, name := range []string{"Double", "FeatureFlag", "FractionalPercent", "Percent", "UInt32", "UInt64"} {
		s[protoreflect.FullName("envoy.config.core.v3.Runtime"+name)] = Names("default_value runtime_key")
	}
	return s
}

// sockets is the part of Core about addresses and socket options.
func sockets() Support {
	return Support{
		"envoy.config.core.v3.Address": Names("socket_address pipe").
			No("envoy_internal_address", "internal listeners are not supported"),
		"envoy.config.core.v3.SocketAddress": Names("protocol address port_value ipv4_compat").
			No("named_port", "use port_value").
			No("resolver_name", "names are resolved by STRICT_DNS and LOGICAL_DNS clusters").
			No("network_namespace_filepath", "start the process in that network namespace").
			No("protocol=UDP", "only TCP is supported"),
		"envoy.config.core.v3.Pipe":         Names("path mode"),
		"envoy.config.core.v3.TcpKeepalive": Names("keepalive_probes keepalive_time keepalive_interval"),
		"envoy.config.core.v3.BindConfig": Names("source_address freebind socket_options").
			No("extra_source_addresses additional_source_addresses local_address_selector", "use one source_address").
			No("validate_network_namespaces", ""),
		"envoy.config.core.v3.SocketOption":                     Names("description level name int_value buf_value state type ip_version"),
		"envoy.config.core.v3.SocketOption.SocketType":          Names("stream").No("datagram", "only TCP is supported"),
		"envoy.config.core.v3.SocketOption.SocketType.Stream":   Fields{},
		"envoy.config.core.v3.SocketOptionsOverride":            Names("socket_options"),
		"envoy.config.core.v3.SocketOption.SocketType.Datagram": Fields{},
		"envoy.config.core.v3.DnsResolverOptions":               Names("use_tcp_for_dns_lookups no_default_search_domain"),
		"envoy.config.core.v3.DnsResolutionConfig":              Names("resolvers dns_resolver_options"),
	}
}
