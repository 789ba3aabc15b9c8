// Package grpcjson is the HTTP filter envoy.filters.http.grpc_json_transcoder: a client that speaks JSON over HTTP calls a gRPC service.
// The google.api.http rules of a descriptor set say which request means which method, and where its fields come from: path, query and
// body. Messages become frames on the way up and JSON on the way down, one by one where a method streams.
package grpcjson
