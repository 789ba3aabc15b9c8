package rbac

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
)

// permissions compiles a list of permissions. An empty one is an error: it would be everything or nothing.
func (c *compiler) permissions(kind kind, field string, list []*rbacv3.Permission) (rule, error) {
	r := rule{kind: kind}
	if len(list) == 0 {
		return r, under(field, errNotSet)
	}
	for i, cfg := range list {
		one, err := c.permission(cfg)
		if err != nil {
			return r, below(fmt.Sprintf("%s[%d]", field, i), err)
		}
		r.set = append(r.set, one)
	}
	return r.simple(), nil
}

func (c *compiler) permission(cfg *rbacv3.Permission) (rule, error) {
	if err := c.descend(); err != nil {
		return rule{}, err
	}
	defer c.ascend()
	switch p := cfg.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		r, err := c.permissions(all, "rules", p.AndRules.GetRules())
		return r, below("and_rules", err)
	case *rbacv3.Permission_OrRules:
		r, err := c.permissions(some, "rules", p.OrRules.GetRules())
		return r, below("or_rules", err)
	case *rbacv3.Permission_NotRule:
		r, err := c.permission(p.NotRule)
		return rule{kind: inverted, set: []rule{r}}, below("not_rule", err)
	case *rbacv3.Permission_Any:
		return anybody(p.Any)
	case *rbacv3.Permission_Header:
		return c.header(p.Header)
	case *rbacv3.Permission_UrlPath:
		return c.path(p.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		return c.template(p.UriTemplate)
	case *rbacv3.Permission_DestinationIp:
		return addresses(destinationAddr, "destination_ip", p.DestinationIp)
	case *rbacv3.Permission_DestinationPort:
		if p.DestinationPort > 65535 {
			return rule{}, fmt.Errorf("destination_port: %d is not a port", p.DestinationPort)
		}
		return rule{kind: destinationPort, from: int(p.DestinationPort), to: int(p.DestinationPort) + 1}, nil
	case *rbacv3.Permission_DestinationPortRange:
		return portRange(p.DestinationPortRange)
	case *rbacv3.Permission_Metadata:
		r, err := c.metadata(dynamicMetadata, p.Metadata)
		return r, under("metadata", err)
	case *rbacv3.Permission_SourcedMetadata:
		return c.sourced(p.SourcedMetadata)
	case *rbacv3.Permission_RequestedServerName:
		s, err := match.NewString(p.RequestedServerName)
		return rule{kind: serverName, text: &s}, under("requested_server_name", err)
	case *rbacv3.Permission_Matcher:
		return rule{}, fmt.Errorf("matcher: extension %q (%s) is not supported", p.Matcher.GetName(), resource.TypeOf(p.Matcher.GetTypedConfig()))
	case nil:
		return rule{}, fmt.Errorf("rule: %w", errNotSet)
	}
	return rule{}, errors.New("rule: this form of permission is not supported")
}

// anybody compiles any, which is either true or not there.
func anybody(set bool) (rule, error) {
	if !set {
		return rule{}, errors.New("any: must be true")
	}
	return rule{kind: always}, nil
}

func (c *compiler) template(cfg *corev3.TypedExtensionConfig) (rule, error) {
	if !c.http {
		return rule{}, fmt.Errorf("uri_template: %w", errHTTPOnly)
	}
	m, err := resource.Unpack[*templatev3.UriTemplateMatchConfig](cfg.GetTypedConfig())
	if err != nil {
		return rule{}, fmt.Errorf("uri_template.typed_config: %w", err)
	}
	t, err := match.NewTemplate(m.GetPathTemplate())
	return rule{kind: template, template: t}, under("uri_template.typed_config.path_template", err)
}

// portRange compiles a range from its start to before its end.
func portRange(cfg *typev3.Int32Range) (rule, error) {
	const field = "destination_port_range"
	from, to := int(cfg.GetStart()), int(cfg.GetEnd())
	switch {
	case from < 0 || from > 65536:
		return rule{}, fmt.Errorf("%s: range start %d is out of bounds", field, from)
	case to < 0 || to > 65536:
		return rule{}, fmt.Errorf("%s: range end %d is out of bounds", field, to)
	case from >= to:
		return rule{}, fmt.Errorf("%s: range start %d cannot be greater or equal than range end %d", field, from, to)
	}
	return rule{kind: destinationPort, from: from, to: to}, nil
}
