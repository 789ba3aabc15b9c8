package secret

import "github.com/weftproxy/weft/resource"

// Why fields are rejected.
const (
	noSDS        = "there is nobody to deliver it here; name a static secret, without sds_config"
	noContent    = "give it a tls_certificate, validation_context, session_ticket_keys or generic_secret"
	noProvider   = "use private_key"
	noTimestamps = "Envoy does not implement it either"
	noParams     = "use tls_params of the context"
)

// Support says which fields of the messages of secrets Weft implements. Those of CertificateValidationContext are with the transport socket.
func Support() resource.Support {
	return resource.Support{
		"envoy.extensions.transport_sockets.tls.v3.Secret": resource.Names("name tls_certificate session_ticket_keys validation_context generic_secret"),
		"envoy.extensions.transport_sockets.tls.v3.TlsCertificate": resource.Names("certificate_chain private_key pkcs12 password ocsp_staple").
			YesBut("watched_directory", "files are watched whether or not they are in it; a change of anything in it is one more reason to read them again").
			No("private_key_provider", noProvider).
			No("signed_certificate_timestamp", noTimestamps).
			No("tls_params", noParams),
		"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys": resource.Names("keys"),
		"envoy.extensions.transport_sockets.tls.v3.GenericSecret":        resource.Names("secret secrets"),
		"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":      resource.Names("name sds_config"),
		"envoy.config.core.v3.WatchedDirectory": resource.Names("path").
			YesBut("watch_modify", "files that change in place count whether or not it is set"),
	}
}
