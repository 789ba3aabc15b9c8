// Package fetch asks a control plane, over ADS and as some node, what it would send, and follows the references in the answers. It is what
// `weft xds fetch` does; nothing is applied.
package fetch
