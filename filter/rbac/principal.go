package rbac

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
)

// principals compiles a list of principals. An empty one is an error: it would be everybody or nobody.
func (c *compiler) principals(kind kind, field string, list []*rbacv3.Principal) (rule, error) {
	r := rule{kind: kind}
	if len(list) == 0 {
		return r, under(field, errNotSet)
	}
	for i, cfg := range list {
		one, err := c.principal(cfg)
		if err != nil {
			return r, below(fmt.Sprintf("%s[%d]", field, i), err)
		}
		r.set = append(r.set, one)
	}
	return r.simple(), nil
}

func (c *compiler) principal(cfg *rbacv3.Principal) (rule, error) {
	if err := c.descend(); err != nil {
		return rule{}, err
	}
	defer c.ascend()
	switch p := cfg.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		r, err := c.principals(all, "ids", p.AndIds.GetIds())
		return r, below("and_ids", err)
	case *rbacv3.Principal_OrIds:
		r, err := c.principals(some, "ids", p.OrIds.GetIds())
		return r, below("or_ids", err)
	case *rbacv3.Principal_NotId:
		r, err := c.principal(p.NotId)
		return rule{kind: inverted, set: []rule{r}}, below("not_id", err)
	case *rbacv3.Principal_Any:
		return anybody(p.Any)
	case *rbacv3.Principal_Authenticated_:
		return authentic(p.Authenticated.GetPrincipalName())
	case *rbacv3.Principal_Custom:
		return custom(p.Custom)
	case *rbacv3.Principal_SourceIp:
		return addresses(sourceAddr, "source_ip", p.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return addresses(directAddr, "direct_remote_ip", p.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return addresses(remoteAddr, "remote_ip", p.RemoteIp)
	case *rbacv3.Principal_Header:
		return c.header(p.Header)
	case *rbacv3.Principal_UrlPath:
		return c.path(p.UrlPath)
	case *rbacv3.Principal_Metadata:
		r, err := c.metadata(dynamicMetadata, p.Metadata)
		return r, under("metadata", err)
	case *rbacv3.Principal_SourcedMetadata:
		return c.sourced(p.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		return c.state(p.FilterState)
	case nil:
		return rule{}, fmt.Errorf("identifier: %w", errNotSet)
	}
	return rule{}, errors.New("identifier: this form of principal is not supported")
}

func authentic(name *matcherv3.StringMatcher) (rule, error) {
	if name == nil {
		return rule{kind: authenticated}, nil
	}
	s, err := match.NewString(name)
	return rule{kind: authenticated, text: &s}, under("authenticated.principal_name", err)
}

// custom compiles a principal that is an extension.
func custom(cfg *corev3.TypedExtensionConfig) (rule, error) {
	if name := resource.TypeOf(cfg.GetTypedConfig()); name != (&mtlsv3.Config{}).ProtoReflect().Descriptor().FullName() {
		return rule{}, fmt.Errorf("custom: extension %q (%s) is not supported", cfg.GetName(), name)
	}
	m, err := resource.Unpack[*mtlsv3.Config](cfg.GetTypedConfig())
	if err != nil {
		return rule{}, fmt.Errorf("custom.typed_config: %w", err)
	}
	r, err := mtls(m)
	return r, under("custom.typed_config", err)
}
