package route

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// A levelConfig is what RouteConfiguration, VirtualHost and Route have in common.
type levelConfig interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
	GetTypedPerFilterConfig() map[string]*anypb.Any
}

func (c *compiler) compileLevel(cfg levelConfig, at resource.Path) level {
	request, response := c.mutations(cfg, at)
	return level{request, response, c.overrides(cfg.GetTypedPerFilterConfig(), at.Field("typed_per_filter_config"))}
}

// mutations compiles the header mutations of a level; nil where there are none.
func (c *compiler) mutations(cfg levelConfig, at resource.Path) (request, response *exchange.Mutations) {
	o := c.env.Format
	request = CompileMutations(o, cfg.GetRequestHeadersToAdd(), cfg.GetRequestHeadersToRemove(), at.Field("request_headers_to_add"), c.problems)
	response = CompileMutations(o, cfg.GetResponseHeadersToAdd(), cfg.GetResponseHeadersToRemove(), at.Field("response_headers_to_add"), c.problems)
	return request, response
}

// CompileMutations compiles HeaderValueOptions, whose place is at, and names of headers to remove, whose place is at with "remove"
// instead of "add". It returns nil when there are none. Pseudo-headers and host are refused, as in Envoy.
func CompileMutations(o format.Options, add []*corev3.HeaderValueOption, remove []string, at resource.Path, p *resource.Problems) *exchange.Mutations {
	if len(add) == 0 && len(remove) == 0 {
		return nil
	}
	m := &exchange.Mutations{}
	for i, name := range remove {
		here := resource.Path(strings.TrimSuffix(string(at), "add") + "remove").Index(i)
		if protected(name) {
			p.Errorf(here, "", ":-prefixed or host headers may not be removed")
		}
		m.Remove = append(m.Remove, strings.ToLower(name))
	}
	for i, option := range add {
		one, err := compileMutation(o, option)
		if err != nil {
			p.Errorf(at.Index(i), "", "%v", err)
			continue
		}
		m.Add = append(m.Add, one)
	}
	return m
}

// protected reports whether a header may not be modified: what a request is addressed to has fields of its own for that.
func protected(name string) bool {
	return name == "" || name[0] == ':' || strings.EqualFold(name, "host")
}

func compileMutation(o format.Options, cfg *corev3.HeaderValueOption) (exchange.Mutation, error) {
	m := exchange.Mutation{Name: cfg.GetHeader().GetKey(), KeepEmpty: cfg.GetKeepEmptyValue()}
	switch {
	case m.Name == "":
		return m, fmt.Errorf("header.key: must not be empty")
	case len(m.Name) > 16384:
		return m, fmt.Errorf("header.key: longer than 16384 bytes")
	case protected(m.Name):
		return m, fmt.Errorf("header.key: :-prefixed or host headers may not be modified")
	case cfg.GetHeader().GetValue() != "" && len(cfg.GetHeader().GetRawValue()) > 0:
		return m, fmt.Errorf("header: only one of value and raw_value can be set")
	}
	action, err := appendAction(cfg)
	if err != nil {
		return m, err
	}
	m.Action = action
	value := cfg.GetHeader().GetValue()
	if value == "" {
		value = string(cfg.GetHeader().GetRawValue())
	}
	o.OmitEmpty, o.OneLine = true, true
	if m.Value, err = format.Compile(value, o); err != nil {
		return m, fmt.Errorf("header.value: %w", err)
	}
	return m, nil
}

// appendAction reads append_action, or the deprecated append.
func appendAction(cfg *corev3.HeaderValueOption) (exchange.Action, error) {
	if old := cfg.GetAppend(); old != nil {
		switch {
		case cfg.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			return 0, fmt.Errorf("both append and append_action are specified")
		case !old.GetValue():
			return exchange.OverwriteIfExistsOrAdd, nil
		}
		return exchange.AppendIfExistsOrAdd, nil
	}
	switch cfg.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		return exchange.AppendIfExistsOrAdd, nil
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return exchange.AddIfAbsent, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return exchange.OverwriteIfExistsOrAdd, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return exchange.OverwriteIfExists, nil
	}
	return 0, fmt.Errorf("append_action: unknown value %d", cfg.GetAppendAction())
}

// overrides decodes typed_per_filter_config.
func (c *compiler) overrides(cfg map[string]*anypb.Any, at resource.Path) map[string]exchange.Override {
	if len(cfg) == 0 {
		return nil
	}
	out := make(map[string]exchange.Override, len(cfg))
	for name, a := range cfg {
		here := at.Key(name)
		o, err := override(a)
		if err != nil {
			c.problems.Errorf(here, "", "%v", err)
			continue
		}
		o.Place = string(here)
		out[name] = o
	}
	return out
}

// override decodes one typed_per_filter_config, which may be wrapped in a FilterConfig.
func override(a *anypb.Any) (exchange.Override, error) {
	msg, err := resource.Decode(a)
	if err != nil {
		return exchange.Override{}, err
	}
	wrapper, ok := msg.(*routev3.FilterConfig)
	if !ok {
		return exchange.Override{Config: msg}, nil
	}
	o := exchange.Override{Disabled: wrapper.GetDisabled()}
	if wrapper.GetConfig().GetTypeUrl() == "" {
		return o, nil
	}
	if o.Config, err = resource.Decode(wrapper.GetConfig()); err != nil {
		if wrapper.GetIsOptional() {
			return o, nil
		}
		return o, fmt.Errorf("config: %w", err)
	}
	return o, nil
}

// A bufferConfig is what VirtualHost and Route have in common.
type bufferConfig interface {
	GetPerRequestBufferLimitBytes() *wrapperspb.UInt32Value
	GetRequestBodyBufferLimit() *wrapperspb.UInt64Value
}

// bufferLimit is how many bytes of a request are kept for retries; the newer field goes first.
func bufferLimit(cfg bufferConfig, above int) int {
	if v := cfg.GetRequestBodyBufferLimit(); v != nil {
		return int(min(v.GetValue(), 1<<62))
	}
	if v := cfg.GetPerRequestBufferLimitBytes(); v != nil {
		return int(v.GetValue())
	}
	return above
}
