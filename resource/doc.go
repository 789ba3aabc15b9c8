// Package resource says what configuration is: named Envoy v3 messages, what Weft does with each of their fields, and what
// is wrong with them.
//
// A Set is one whole configuration. Sources (files, xDS, the command line) build Sets and hand them to a Sink. Support lists,
// message by message, the fields that are implemented; Check walks a message tree against it and against the protos' own
// field rules and collects every Problem with the Path of the field it is about.
package resource
