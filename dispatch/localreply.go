package dispatch

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/accesslog"
	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/route"
)

// localReplies is a compiled LocalReplyConfig: it rewrites what Weft answers itself. nil changes nothing.
type localReplies struct {
	mappers []replyMapper
	format  *format.Source
}

// A replyMapper is one ResponseMapper.
type replyMapper struct {
	filter  accesslog.Filter
	status  int // 0 keeps
	body    string
	hasBody bool
	format  *format.Source
	headers *exchange.Mutations
}

func compileReplies(env *extension.Env, c *hcmv3.LocalReplyConfig, at resource.Path) *localReplies {
	if c == nil {
		return nil
	}
	r := &localReplies{format: compileBodyFormat(env, c.GetBodyFormat(), at.Field("body_format"))}
	for i, m := range c.GetMappers() {
		here := at.Field("mappers").Index(i)
		filter, err := accesslog.CompileFilter(m.GetFilter(), env.Options.Runtime)
		if err != nil {
			env.Problems.Errorf(here.Field("filter"), "", "%v", err)
		}
		rm := replyMapper{filter: filter, status: int(m.GetStatusCode().GetValue())}
		if m.GetBody() != nil {
			rm.hasBody = true
			if rm.body, err = env.ReadData(m.GetBody()); err != nil {
				env.Problems.Errorf(here.Field("body"), "", "%v", err)
			}
		}
		rm.format = compileBodyFormat(env, m.GetBodyFormatOverride(), here.Field("body_format_override"))
		rm.headers = route.CompileMutations(env.Format, m.GetHeadersToAdd(), nil, here.Field("headers_to_add"), env.Problems)
		r.mappers = append(r.mappers, rm)
	}
	return r
}

func compileBodyFormat(env *extension.Env, c *corev3.SubstitutionFormatString, at resource.Path) *format.Source {
	if c == nil {
		return nil
	}
	f, err := format.FromProto(c, env.Format)
	if err != nil {
		env.Problems.Errorf(at, "", "%v", err)
		return nil
	}
	return &f
}

func compileLogs(env *extension.Env, logs []*accesslogv3.AccessLog, at resource.Path) []accesslog.Writer {
	var out []accesslog.Writer
	for i, l := range logs {
		if w := env.CompileLog(l, at.Index(i)); w != nil {
			out = append(out, w)
		}
	}
	return out
}

// localReply turns an error into the response that answers it, nil when nobody is there to be answered.
func (d *Dispatcher) localReply(t *stream, err error) *message.Response {
	x := &t.x
	if flag, details, ok := gone(x); ok {
		x.Record.Flags |= flag
		x.Record.Details = details
		return nil
	}
	e := exchange.AsError(err)
	if closed(x) {
		e = errClosed.With(err)
	}
	resp := x.Reply(e)
	if e.Status == 0 {
		t.s.Reset(e)
		return nil
	}
	return resp
}

// apply rewrites a local reply as local_reply_config says.
func (r *localReplies) apply(x *exchange.Exchange, resp *message.Response) {
	if r == nil {
		return
	}
	text := x.Wording()
	x.Record.Status = resp.Status // what filters on status codes look at
	e := x.Entry(resp)
	form := r.format
	for i := range r.mappers {
		m := &r.mappers[i]
		if m.filter != nil && !m.filter.Match(&e) {
			continue
		}
		if m.status != 0 {
			resp.Status = m.status
			x.Record.Status = m.status
		}
		if m.hasBody {
			text = m.body
		}
		if m.headers != nil {
			m.headers.Apply(&resp.Header, &e)
		}
		if m.format != nil {
			form = m.format
		}
		break
	}
	contentType := "text/plain"
	if form != nil {
		e.Local = text
		text = string(form.Append(nil, &e))
		contentType = form.ContentType
	}
	x.Reword(text, contentType)
}
