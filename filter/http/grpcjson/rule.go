package grpcjson

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const httpBody = protoreflect.FullName("google.api.HttpBody")

// A rule is one binding of a google.api.http rule, compiled: which method a request means, and where its fields come from. Immutable.
type rule struct {
	path          string // of the gRPC method: /package.Service/Method
	input, output protoreflect.MessageDescriptor
	clientStreams bool
	serverStreams bool

	vars []boundVariable

	hasBody bool      // body: the HTTP body is the message or a field of it
	body    fieldPath // empty: the message
	raw     bool      // the body becomes a google.api.HttpBody as it is
	enums   bool      // the request has enums

	responseBody fieldPath // response_body; empty: the message
	rawResponse  bool      // the response is a google.api.HttpBody
}

// A boundVariable is a variable of the path with the field that it is for; field is nil when there is no such field.
type boundVariable struct {
	variable
	field fieldPath
}

// A ruleCompiler registers the rules of methods.
type ruleCompiler struct {
	paths *paths
	enums enums
	warn  func(format string, args ...any)
}

// method registers all bindings of a method. Methods without a rule get one of their own where autoMap.
func (c *ruleCompiler) method(md protoreflect.MethodDescriptor, autoMap bool) error {
	path := "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
	cfg := httpRule(md)
	if cfg == nil {
		if !autoMap {
			return nil
		}
		cfg = &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: "*"}
	}
	responseBody, err := bodyField(md.Output(), cfg.GetResponseBody())
	if err != nil {
		return fmt.Errorf("transcoding_filter: Cannot register '%s': %w", md.FullName(), err)
	}
	for _, one := range append([]*annotations.HttpRule{cfg}, cfg.GetAdditionalBindings()...) {
		r := &rule{
			path: path, input: md.Input(), output: md.Output(), clientStreams: md.IsStreamingClient(), serverStreams: md.IsStreamingServer(),
			responseBody: responseBody, rawResponse: isHTTPBody(md.Output(), responseBody), enums: c.enums.learn(md.Input()),
		}
		if err := c.register(r, one); err != nil {
			return fmt.Errorf("transcoding_filter: Cannot register '%s': %w", md.FullName(), err)
		}
	}
	return nil
}

// httpRule returns the google.api.http option of a method, nil when it has none.
func httpRule(md protoreflect.MethodDescriptor) *annotations.HttpRule {
	o, ok := md.Options().(*descriptorpb.MethodOptions)
	if !ok || o == nil || !proto.HasExtension(o, annotations.E_Http) {
		return nil
	}
	r, _ := proto.GetExtension(o, annotations.E_Http).(*annotations.HttpRule)
	return r
}

// register compiles one binding into r and adds it. A rule without a pattern is for nobody.
func (c *ruleCompiler) register(r *rule, cfg *annotations.HttpRule) error {
	verb, pattern := requestOf(cfg)
	if verb == "" {
		return nil
	}
	t, err := parseTemplate(pattern)
	if err != nil {
		return err
	}
	for _, v := range t.vars {
		field, _ := resolve(r.input, v.names)
		r.vars = append(r.vars, boundVariable{v, field})
	}
	r.hasBody = cfg.GetBody() != ""
	if r.body, err = bodyField(r.input, cfg.GetBody()); err != nil {
		return err
	}
	r.raw = isHTTPBody(r.input, r.body)
	if !c.paths.add(verb, t, r) {
		c.warn("%s: another method or binding has %s %s as well, so neither serves it", r.path, verb, pattern)
	}
	return nil
}

// requestOf returns the HTTP method and the path template of a binding, "" when it has none.
func requestOf(cfg *annotations.HttpRule) (method, pattern string) {
	switch p := cfg.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

// bodyField resolves body or response_body.
func bodyField(md protoreflect.MessageDescriptor, name string) (fieldPath, error) {
	if name == "" || name == "*" {
		return nil, nil
	}
	path, ok := resolve(md, strings.Split(name, "."))
	if !ok {
		return nil, fmt.Errorf("could not find field %q in the type %q", name, md.FullName())
	}
	return path, nil
}

// isHTTPBody reports whether the message, or the field of it that the path leads to, is a google.api.HttpBody.
func isHTTPBody(md protoreflect.MessageDescriptor, path fieldPath) bool {
	if len(path) == 0 {
		return md.FullName() == httpBody
	}
	fd := path.last()
	return fd.Message() != nil && !fd.IsList() && !fd.IsMap() && fd.Message().FullName() == httpBody
}
