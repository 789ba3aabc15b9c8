package extension

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ReadData returns what a DataSource holds: inline, of a file, or of an environment variable, read when the configuration is compiled.
func (env *Env) ReadData(src *corev3.DataSource) (string, error) {
	switch s := src.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return s.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	case *corev3.DataSource_EnvironmentVariable:
		if env.Format.Getenv != nil {
			if v, ok := env.Format.Getenv(s.EnvironmentVariable); ok {
				return v, nil
			}
		}
		return "", fmt.Errorf("environment variable %q is not set", s.EnvironmentVariable)
	case *corev3.DataSource_Filename:
		if env.Format.ReadFile == nil {
			return "", errors.New("files cannot be read here")
		}
		b, err := env.Format.ReadFile(s.Filename)
		return string(b), err
	}
	return "", errors.New("the data source is empty")
}
