// Package file reads configuration from an Envoy v3 Bootstrap: a file of YAML, JSON, text or binary protobuf, and the text of
// --config-yaml merged over it.
//
// Load reports everything it finds wrong, not the first thing: unknown fields, values of the wrong form, fields and extensions
// that are not supported, broken validation rules. Each Problem carries the field's Path and, where the format has lines, its
// line and column. Values follow the protobuf JSON mapping as Envoy applies it to YAML. Input is bounded in size, nesting and
// the expansion of YAML aliases.
package file
