// Package tcp is the host's own network: TCP and unix sockets.
package tcp
