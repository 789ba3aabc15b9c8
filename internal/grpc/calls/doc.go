// Package calls counts gRPC calls below the cluster that they go to, by Envoy's names: cluster.<cluster>.grpc.<service>.<method>.total and
// so on, for the HTTP filters that do so. Series are made when a method is first called; how many, has a bound.
package calls
