package tls

import "github.com/weftproxy/weft/resource"

// Support says what Weft does with the fields of the messages that this package compiles.
func Support() resource.Support {
	const pkg = "envoy.extensions.transport_sockets.tls.v3."
	const fixed = "crypto/tls decides; leave it out"
	providers := "name certificates with tls_certificates or tls_certificate_sds_secret_configs"
	cas := "give the validation context a trusted_ca"
	return resource.Support{
		pkg + "DownstreamTlsContext": resource.Names("common_tls_context require_client_certificate session_ticket_keys "+
			"session_ticket_keys_sds_secret_config disable_stateless_session_resumption ocsp_staple_policy full_scan_certs_on_sni_mismatch").
			YesBut("session_timeout",
				"counted from when a ticket is issued, a day by default; clients of TLS 1.3 are told 7 days whatever it is").
			NoEffect("disable_stateful_session_resumption", "there is no session cache: sessions are resumed by tickets only").
			NoEffect("prefer_client_ciphers", "the better one of the suites in common is taken, as the hardware of both sides has it").
			No("require_sni", "match server_names in the filter chain"),
		pkg + "UpstreamTlsContext": resource.Names("common_tls_context sni auto_host_sni auto_sni_san_validation").
			YesBut("max_session_keys", "so many for each server and name, of at most 64, and at most 1024").
			NoEffect("enforce_rsa_key_usage", "the keyUsage of certificates is always enforced").
			No("allow_renegotiation", "renegotiation is refused"),
		pkg + "CommonTlsContext": resource.Names("tls_params tls_certificates tls_certificate_sds_secret_configs validation_context "+
			"validation_context_sds_secret_config combined_validation_context alpn_protocols key_log").
			No("tls_certificate_provider_instance tls_certificate_certificate_provider tls_certificate_certificate_provider_instance", providers).
			No("custom_tls_certificate_selector", providers).
			No("validation_context_certificate_provider validation_context_certificate_provider_instance", cas).
			No("custom_handshaker", ""),
		pkg + "CommonTlsContext.CombinedCertificateValidationContext": resource.
			Names("default_validation_context validation_context_sds_secret_config").
			No("validation_context_certificate_provider validation_context_certificate_provider_instance", cas),
		pkg + "CommonTlsContext.CertificateProvider":         resource.Fields{}.No("name typed_config", providers),
		pkg + "CommonTlsContext.CertificateProviderInstance": resource.Fields{}.No("instance_name certificate_name", providers),
		pkg + "CertificateProviderPluginInstance":            resource.Fields{}.No("instance_name certificate_name", providers),
		pkg + "TlsKeyLog": resource.Names("path local_address_range remote_address_range"),
		pkg + "TlsParameters": resource.Names("tls_minimum_protocol_version tls_maximum_protocol_version").
			YesBut("cipher_suites", "by OpenSSL's names, those that crypto/tls has; their order says nothing: the best in common is taken").
			YesBut("ecdh_curves", "X25519, P-256, P-384, P-521, X25519MLKEM768; their order says nothing: the best in common is taken").
			No("signature_algorithms", fixed).
			No("compliance_policies", "set tls_minimum_protocol_version, cipher_suites and ecdh_curves"),
		pkg + "CertificateValidationContext": resource.Names("trusted_ca system_root_certs watched_directory verify_certificate_spki "+
			"verify_certificate_hash match_typed_subject_alt_names match_subject_alt_names crl allow_expired_certificate "+
			"trust_chain_verification only_verify_leaf_cert_crl max_verify_depth suppress_client_ca_list").
			YesBut("custom_validator_config", "envoy.tls.cert_validator.spiffe; beside it no crl, max_verify_depth and pins, which it would ignore").
			No("ca_certificate_provider_instance", "use trusted_ca").
			No("require_signed_certificate_timestamp", ""),
		pkg + "CertificateValidationContext.SystemRootCerts": resource.Fields{},
		pkg + "SubjectAltNameMatcher":                        resource.Names("san_type matcher oid"),
		pkg + "SPIFFECertValidatorConfig":                    resource.Names("trust_domains trust_bundles"),
		pkg + "SPIFFECertValidatorConfig.TrustDomain": resource.Names("name trust_bundle").
			No("workload_trust_domain", "there is no filter state"),
	}
}
