package accesslog

import (
	"errors"
	"fmt"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"

	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

// A logger formats entries into a file.
type logger struct {
	format  *format.Format
	file    *File
	scratch sync.Pool // of *[]byte
}

// keepScratch is the size of the largest scratch buffer that is kept, in bytes.
const keepScratch = 16 << 10

// Log implements Writer.
func (l *logger) Log(e *observe.Entry) {
	b, _ := l.scratch.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
		*b = make([]byte, 0, 512)
	}
	*b = l.format.Append((*b)[:0], e)
	l.file.Write(*b)
	if cap(*b) <= keepScratch {
		l.scratch.Put(b)
	}
}

// NewFile compiles envoy.access_loggers.file: lines in Envoy's default format unless another is given. The file is opened, and
// created if need be, at once.
func NewFile(files *Files, o format.Options, cfg *filev3.FileAccessLog) (Writer, error) {
	var f *format.Format
	var err error
	switch form := cfg.GetAccessLogFormat().(type) {
	case *filev3.FileAccessLog_Format:
		text := form.Format
		if text == "" {
			text = format.DefaultHTTP
		}
		f, err = format.Compile(text, o)
		err = named("format", err)
	case *filev3.FileAccessLog_JsonFormat:
		o.Strings = true
		f, err = format.CompileJSON(form.JsonFormat, o)
		err = named("json_format", err)
	case *filev3.FileAccessLog_TypedJsonFormat:
		f, err = format.CompileJSON(form.TypedJsonFormat, o)
		err = named("typed_json_format", err)
	case *filev3.FileAccessLog_LogFormat:
		f, err = logFormat(form.LogFormat, o)
	default:
		f, err = logFormat(nil, o)
	}
	if err != nil {
		return nil, err
	}
	file, err := files.Open(cfg.GetPath())
	if err != nil {
		return nil, named("path", err)
	}
	return &logger{format: f, file: file}, nil
}

// NewStdout compiles envoy.access_loggers.stdout.
func NewStdout(files *Files, o format.Options, cfg *streamv3.StdoutAccessLog) (Writer, error) {
	f, err := logFormat(cfg.GetLogFormat(), o)
	if err != nil {
		return nil, err
	}
	return &logger{format: f, file: files.Stdout()}, nil
}

// NewStderr compiles envoy.access_loggers.stderr.
func NewStderr(files *Files, o format.Options, cfg *streamv3.StderrAccessLog) (Writer, error) {
	f, err := logFormat(cfg.GetLogFormat(), o)
	if err != nil {
		return nil, err
	}
	return &logger{format: f, file: files.Stderr()}, nil
}

// logFormat compiles a log_format; nil is Envoy's default.
func logFormat(cfg *corev3.SubstitutionFormatString, o format.Options) (*format.Format, error) {
	if cfg == nil {
		return format.Compile(format.DefaultHTTP, o)
	}
	if cfg.GetFormat() == nil {
		return nil, errors.New("log_format: a format is required")
	}
	s, err := format.FromProto(cfg, o)
	return s.Format, named("log_format", err)
}

func named(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}
