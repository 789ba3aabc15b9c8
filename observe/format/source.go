package format

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// A Source is a compiled SubstitutionFormatString.
type Source struct {
	*Format
	ContentType string // of a body in this format; as configured, else text/plain or application/json
}

// FromProto compiles envoy.config.core.v3.SubstitutionFormatString; OmitEmpty of the options is replaced by the message's. Errors begin with the
// field they are about.
func FromProto(cfg *corev3.SubstitutionFormatString, o Options) (Source, error) {
	o.OmitEmpty = cfg.GetOmitEmptyValues()
	var f *Format
	var err error
	contentType := "text/plain"
	switch form := cfg.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		f, err = Compile(form.TextFormat, o)
		err = named("text_format", err)
	case *corev3.SubstitutionFormatString_TextFormatSource:
		f, err = fromSource(form.TextFormatSource, o)
		err = named("text_format_source", err)
	case *corev3.SubstitutionFormatString_JsonFormat:
		contentType = "application/json"
		f, err = CompileJSON(form.JsonFormat, o)
		err = named("json_format", err)
	default:
		err = errors.New("a format is required")
	}
	if err != nil {
		return Source{}, err
	}
	if cfg.GetContentType() != "" {
		contentType = cfg.GetContentType()
	}
	return Source{f, contentType}, nil
}

func named(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

func fromSource(src *corev3.DataSource, o Options) (*Format, error) {
	switch s := src.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return Compile(s.InlineString, o)
	case *corev3.DataSource_InlineBytes:
		return Compile(string(s.InlineBytes), o)
	case *corev3.DataSource_EnvironmentVariable:
		if o.Getenv != nil {
			if v, ok := o.Getenv(s.EnvironmentVariable); ok {
				return Compile(v, o)
			}
		}
		return nil, fmt.Errorf("environment variable %q is not set", s.EnvironmentVariable)
	case *corev3.DataSource_Filename:
		if o.ReadFile == nil {
			return nil, errors.New("filename: files cannot be read here")
		}
		b, err := o.ReadFile(s.Filename)
		if err != nil {
			return nil, fmt.Errorf("filename: %w", err)
		}
		return Compile(string(b), o)
	}
	return nil, errors.New("is empty")
}
