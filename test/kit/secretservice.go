package kit

import (
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
)

// A secretService is the secret discovery service of a ControlPlane on streams of its own. Like that of Istio's agent it has no deltas.
type secretService struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer

	c *ControlPlane
}

// StreamSecrets implements the state of the world.
func (s secretService) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	return s.c.StreamAggregatedResources(stream)
}
