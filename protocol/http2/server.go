package http2

import (
	"sync"
	"time"

	"github.com/weftproxy/weft/protocol"
)

// A Server decodes requests. Safe for concurrent use.
type Server struct {
	o       ServerOptions // with defaults filled in; immutable
	streams sync.Pool     // of *serverStream
}

// NewServer returns a codec with those settings.
func NewServer(o ServerOptions) *Server {
	o.Options = o.Options.complete(DefaultMaxStreams)
	o.DrainTime = orDefault(o.DrainTime, 5*time.Second)
	o.ResetAge = orDefault(o.ResetAge, time.Second)
	o.ResetCount = orDefault(o.ResetCount, 500)
	return &Server{o: o}
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// complete fills in the defaults.
func (o Options) complete(streams uint32) Options {
	o.TableSize = max(orDefault(o.TableSize, DefaultTableSize), 0)
	o.MaxStreams = orDefault(o.MaxStreams, streams)
	o.StreamWindow = orDefault(o.StreamWindow, DefaultStreamWindow)
	o.ConnWindow = max(orDefault(o.ConnWindow, DefaultConnWindow), defaultWindow)
	o.MaxOutbound = orDefault(o.MaxOutbound, DefaultMaxOutbound)
	o.MaxOutboundControl = orDefault(o.MaxOutboundControl, DefaultMaxOutboundControl)
	o.MaxEmpty = max(orDefault(o.MaxEmpty, DefaultMaxEmpty), 0)
	o.MaxPriority = max(orDefault(o.MaxPriority, DefaultMaxPriority), 0)
	o.MaxWindowUpdates = orDefault(o.MaxWindowUpdates, DefaultMaxWindowUpdates)
	o.MaxHeaderBytes = orDefault(o.MaxHeaderBytes, DefaultMaxHeaderBytes)
	o.MaxHeaders = orDefault(o.MaxHeaders, DefaultMaxHeaders)
	return o
}

// stats returns where a connection counts.
func (o *Options) stats(lane uint32) *Stats {
	if o.Stats == nil {
		return &Stats{}
	}
	return o.Stats(lane)
}

var (
	_ protocol.Server = (*Server)(nil)
	_ protocol.Stream = (*serverStream)(nil)
)
