package rbac

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the rules.
func Support() resource.Support {
	const (
		at   = "envoy.config.rbac.v3."
		cel  = "CEL expressions are not supported; write permissions and principals"
		hop  = "not transfer-encoding, keep-alive, proxy-connection and http2-settings, which filters do not see"
		tell = "where there is no IP address the rule counts as not matching in ALLOW and as matching in DENY and LOG, inverted or not"
	)
	permission := resource.
		Names("and_rules or_rules any url_path metadata not_rule requested_server_name uri_template sourced_metadata").
		YesBut("header", hop).
		YesBut("destination_ip destination_port destination_port_range", tell).
		No("matcher", "what upstream a request goes to is not known there")
	principal := resource.Names("and_ids or_ids any authenticated url_path metadata not_id sourced_metadata").
		YesBut("header", hop).
		YesBut("source_ip direct_remote_ip remote_ip", tell).
		YesBut("filter_state", "an object that is not there counts as not matching in ALLOW and as matching in DENY and LOG, inverted or not").
		YesBut("custom", "the one extension is envoy.rbac.principals.mtls_authenticated")
	return resource.Support{
		at + "RBAC":                    resource.Names("action policies").No("audit_logging_options", "use access logs"),
		at + "Policy":                  resource.Names("permissions principals").No("condition checked_condition cel_config", cel),
		at + "Permission":              permission,
		at + "Permission.Set":          resource.Names("rules"),
		at + "Principal":               principal,
		at + "Principal.Set":           resource.Names("ids"),
		at + "Principal.Authenticated": resource.Names("principal_name"),
		at + "SourcedMetadata":         resource.Names("metadata_matcher metadata_source"),

		"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": resource.Names("path_template"),
		"envoy.extensions.rbac.principals.mtls_authenticated.v3.Config":      resource.Names("san_matcher any_validated_client_certificate"),
	}
}
