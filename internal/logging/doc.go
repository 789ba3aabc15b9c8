// Package logging is the process's own log: a slog.Handler with Envoy's line layout and levels, one level a component.
//
// A component is a name Envoy uses for a logger ("upstream", "http", "config"); which one a record belongs to follows from the
// package that logged it, so callers name none. Levels change while the process runs, and the file is reopened on request.
package logging
