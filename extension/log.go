package extension

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/resource"
)

// CompileLog compiles one access_log entry with its filter. What is wrong goes to Problems; then it returns nil.
func (env *Env) CompileLog(cfg *accesslogv3.AccessLog, at resource.Path) accesslog.Writer {
	at = at.Field("typed_config")
	msg, err := resource.Decode(cfg.GetTypedConfig())
	if err != nil {
		env.Problems.Errorf(at, "", "access log %q: %v", cfg.GetName(), err)
		return nil
	}
	kind, ok := env.Registry.AccessLog(msg)
	if !ok {
		env.Problems.Errorf(at, "", "access log %q (%s) is not supported", cfg.GetName(), msg.ProtoReflect().Descriptor().FullName())
		return nil
	}
	w, err := kind.New(env, msg)
	if err != nil {
		env.Problems.Errorf(at, "", "%v", err)
		return nil
	}
	if cfg.GetFilter() == nil {
		return w
	}
	filter, err := accesslog.CompileFilter(cfg.GetFilter(), env.Options.Runtime)
	if err != nil {
		env.Problems.Errorf(at, "", "filter: %v", err)
		return nil
	}
	return accesslog.Filtered(filter, w)
}
