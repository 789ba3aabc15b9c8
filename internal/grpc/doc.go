// Package grpc holds the facts of gRPC's mapping to HTTP that more than one package needs: status numbers, content types, the frame before
// each message, the coding of grpc-message, and grpc-timeout. It keeps no state of its own.
package grpc
