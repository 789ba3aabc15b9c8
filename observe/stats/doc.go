// Package stats holds Weft's counters, gauges, histograms and text readouts under Envoy's names and prints them as text,
// JSON and Prometheus exposition.
//
// A Store is the whole tree. A Scope is a prefix in it ("cluster.foo.") with the tags that prefix carries. A Group is a
// struct of metrics that exists once per lane, so that a hot path writes to memory no other lane writes to; readers add the
// lanes up. Single series for cold paths and names known only at run time come from the Scope itself.
//
// Names are shared, as in Envoy: asking twice for a prefix, a group type or a series gives the same one, so counters
// survive a reload that replaces the object they belong to. All types are safe for concurrent use.
package stats
