package route

import (
	"errors"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
)

// route compiles a route and gives it its ID. ok is false when it cannot be matched by.
func (c *compiler) route(cfg *routev3.Route, v *hostConfig, at resource.Path) (e entry, ok bool) {
	r := NotFound()
	r.Name, r.Place, r.VirtualHost, r.Table = cfg.GetName(), string(at), v.cfg.GetName(), c.table.name
	e, ok = c.match(cfg.GetMatch(), at.Field("match"))
	e.route = r
	r.Matched, r.CaseSensitive, r.MatchedAll = e.text, !e.fold, e.kind == regexPath || e.kind == connectPath
	own := c.compileLevel(cfg, at)
	r.Overrides = inherit(v.level.overrides, own.overrides)
	r.RequestHeaders, r.ResponseHeaders = v.request, v.response
	if own.request != nil {
		r.RequestHeaders = c.order(own.request, v.level.request, c.level.request)
	}
	if own.response != nil {
		r.ResponseHeaders = c.order(own.response, v.level.response, c.level.response)
	}
	r.BufferLimit = bufferLimit(cfg, v.buffer)
	r.Metadata = metadata(cfg.GetMetadata())
	r.Decorator = cfg.GetDecorator().GetOperation()
	r.StatPrefix = cfg.GetStatPrefix()
	r.Clusters = v.clusters
	r.IncludeAttempt.Request = v.cfg.GetIncludeRequestAttemptCount()
	r.IncludeAttempt.Response = v.cfg.GetIncludeAttemptCountInResponse()
	switch action := cfg.GetAction().(type) {
	case *routev3.Route_Route:
		c.forward(r, action.Route, v, at.Field("route"))
	case *routev3.Route_Redirect:
		c.redirect(r, action.Redirect, at.Field("redirect"))
	case *routev3.Route_DirectResponse:
		c.direct(r, action.DirectResponse, at.Field("direct_response"))
	case nil:
		c.problems.Errorf(at, "add one of route, redirect and direct_response", "has no action")
		ok = false
	default:
		ok = false
	}
	c.enter(r)
	return e, ok
}

// match compiles a RouteMatch into an entry without its route. ok is false when it has conditions that cannot be checked: such a
// route must match nothing rather than too much.
func (c *compiler) match(cfg *routev3.RouteMatch, at resource.Path) (e entry, ok bool) {
	ok = true
	e.fold = cfg.GetCaseSensitive() != nil && !cfg.GetCaseSensitive().GetValue()
	switch m := cfg.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		e.kind, e.text = prefixPath, m.Prefix
	case *routev3.RouteMatch_Path:
		e.kind, e.text = exactPath, m.Path
		if strings.ContainsAny(m.Path, "?#") {
			c.problems.Warnf(at.Field("path"), "use query_parameters", "never matches: paths are matched without query and fragment")
		}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		e.kind, e.text = separatedPath, m.PathSeparatedPrefix
		if strings.ContainsAny(m.PathSeparatedPrefix, "?#") || strings.HasSuffix(m.PathSeparatedPrefix, "/") {
			c.problems.Errorf(at.Field("path_separated_prefix"), "", "must not end with / or contain ? or #")
		}
	case *routev3.RouteMatch_SafeRegex:
		e.kind, e.fold = regexPath, false
		if e.regex = c.regex(m.SafeRegex, at.Field("safe_regex")); e.regex == nil {
			return e, false
		}
	case *routev3.RouteMatch_ConnectMatcher_:
		e.kind, e.fold = connectPath, false
	case *routev3.RouteMatch_PathMatchPolicy:
		return e, false
	default:
		c.problems.Errorf(at, "add a prefix, path or safe_regex", "has no path specifier")
		return e, false
	}
	if e.fold {
		e.text = match.LowerASCII(e.text)
	}
	e.rest = c.conditions(cfg, at)
	return e, ok && len(cfg.GetDynamicMetadata()) == 0 && len(cfg.GetFilterState()) == 0
}

// regex compiles an expression; equal ones of a table are shared.
func (c *compiler) regex(cfg *matcherv3.RegexMatcher, at resource.Path) *match.Regex {
	if re, ok := c.reuse[cfg.GetRegex()]; ok {
		return re
	}
	re, err := match.RegexFrom(cfg)
	if err != nil {
		c.problems.Errorf(at.Field("regex"), "", "%v", err)
		return nil
	}
	c.reuse[cfg.GetRegex()] = re
	return re
}

// conditions compiles what a RouteMatch asks for besides the path; nil when that is nothing.
func (c *compiler) conditions(cfg *routev3.RouteMatch, at resource.Path) *conditions {
	rest := &conditions{grpc: cfg.GetGrpc() != nil, client: clientFrom(cfg.GetTlsContext()), headers: c.headers(cfg.GetHeaders(), at.Field("headers"))}
	if f := cfg.GetRuntimeFraction(); f != nil {
		rest.fraction = match.NewFraction(f, c.env.Runtime)
	}
	for i, q := range cfg.GetQueryParameters() {
		m, err := match.NewQuery(q)
		if err != nil {
			c.problems.Errorf(at.Field("query_parameters").Index(i), "", "%v", err)
			continue
		}
		rest.query = append(rest.query, m)
	}
	for i, k := range cfg.GetCookies() {
		m, err := match.NewCookie(k)
		if err != nil {
			c.problems.Errorf(at.Field("cookies").Index(i), "", "%v", err)
			continue
		}
		rest.cookies = append(rest.cookies, m)
	}
	if rest.fraction == nil && !rest.grpc && rest.client == (client{}) && rest.headers == nil && rest.query == nil && rest.cookies == nil {
		return nil
	}
	return rest
}

func (c *compiler) headers(cfg []*routev3.HeaderMatcher, at resource.Path) []*match.Header {
	var out []*match.Header
	for i, h := range cfg {
		m, err := match.NewHeader(h)
		if err != nil {
			c.problems.Errorf(at.Index(i), "", "%v", err)
			continue
		}
		out = append(out, m)
	}
	return out
}

// redirect compiles a RedirectAction.
func (c *compiler) redirect(r *exchange.Route, cfg *routev3.RedirectAction, at resource.Path) {
	d := &exchange.Redirect{
		Status: 301, Scheme: cfg.GetSchemeRedirect(), HTTPS: cfg.GetHttpsRedirect(), Host: cfg.GetHostRedirect(), Port: cfg.GetPortRedirect(),
		Path: cfg.GetPathRedirect(), Prefix: cfg.GetPrefixRewrite(), StripQuery: cfg.GetStripQuery(),
	}
	if d.Port > 65535 {
		c.problems.Errorf(at.Field("port_redirect"), "", "%d is not a port", d.Port)
	}
	switch cfg.GetResponseCode() {
	case routev3.RedirectAction_FOUND:
		d.Status = 302
	case routev3.RedirectAction_SEE_OTHER:
		d.Status = 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		d.Status = 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		d.Status = 308
	}
	d.Regex = c.substitution(cfg.GetRegexRewrite(), at.Field("regex_rewrite"))
	r.Redirect = d
}

// substitution compiles a RegexMatchAndSubstitute; nil gives nil.
func (c *compiler) substitution(cfg *matcherv3.RegexMatchAndSubstitute, at resource.Path) *exchange.Substitution {
	if cfg == nil {
		return nil
	}
	s, err := exchange.NewSubstitution(cfg.GetPattern().GetRegex(), cfg.GetSubstitution())
	if err != nil {
		c.problems.Errorf(at, "", "%v", err)
		return nil
	}
	return s
}

// direct compiles a DirectResponseAction.
func (c *compiler) direct(r *exchange.Route, cfg *routev3.DirectResponseAction, at resource.Path) {
	if cfg.GetStatus() < 200 || cfg.GetStatus() >= 600 {
		c.problems.Errorf(at.Field("status"), "", "%d is not in 200 to 599", cfg.GetStatus())
	}
	r.Direct = &exchange.Direct{Status: int(cfg.GetStatus())}
	if cfg.GetBody() == nil {
		return
	}
	here := at.Field("body")
	body, err := c.data(cfg.GetBody())
	switch {
	case err != nil:
		c.problems.Errorf(here, "", "%v", err)
	case len(body) > c.bodyMax:
		c.problems.Errorf(here, "raise max_direct_response_body_size_bytes", "response body size is %d bytes; maximum is %d", len(body), c.bodyMax)
	default:
		r.Direct.Body = body
	}
}

// data reads a DataSource.
func (c *compiler) data(cfg *corev3.DataSource) (string, error) {
	switch s := cfg.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return s.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	case *corev3.DataSource_EnvironmentVariable:
		if c.env.Format.Getenv != nil {
			if value, ok := c.env.Format.Getenv(s.EnvironmentVariable); ok {
				return value, nil
			}
		}
		return "", errors.New("environment_variable: " + s.EnvironmentVariable + " is not set")
	case *corev3.DataSource_Filename:
		if c.env.Format.ReadFile == nil {
			return "", errors.New("filename: files cannot be read here")
		}
		b, err := c.env.Format.ReadFile(s.Filename)
		return string(b), err
	}
	return "", errors.New("is empty")
}

// metadata turns filter_metadata into plain maps.
func metadata(cfg *corev3.Metadata) map[string]map[string]any {
	if len(cfg.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(map[string]map[string]any, len(cfg.GetFilterMetadata()))
	for namespace, s := range cfg.GetFilterMetadata() {
		out[namespace] = s.AsMap()
	}
	return out
}
