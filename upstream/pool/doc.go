// Package pool keeps the connections to one host: it hands out sessions, dials new ones within the limits of the cluster's circuit
// breakers, and closes those that are idle, old or no longer wanted.
package pool
