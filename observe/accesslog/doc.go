// Package accesslog writes one entry for each exchange or connection: to a file, to stdout or to stderr, as text or as JSON, if a
// filter lets it through.
//
// Writers format into a buffer of the file, which is written out when it is large or old enough; a slow disk never stops the data
// path: when too much is waiting, entries are dropped and counted.
package accesslog

import "github.com/weftproxy/weft/observe"

// A Writer takes the entries. Log may be called by many goroutines at once; the entry is borrowed for the duration of the call.
type Writer interface {
	Log(e *observe.Entry)
}

// A Filter decides which entries are written.
type Filter interface {
	Match(e *observe.Entry) bool
}

// Filtered returns a Writer that passes on what the filter lets through; a nil filter lets everything through.
func Filtered(f Filter, w Writer) Writer {
	if f == nil {
		return w
	}
	return filtered{f, w}
}

type filtered struct {
	filter Filter
	writer Writer
}

func (f filtered) Log(e *observe.Entry) {
	if f.filter.Match(e) {
		f.writer.Log(e)
	}
}
