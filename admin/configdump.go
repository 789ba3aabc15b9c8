package admin

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// configDump answers /config_dump: all dumps, or with resource the elements of one of their repeated fields.
func (s *Server) configDump(c *call) {
	d := &dumper{redactor: newRedactor()}
	if expr := c.get("name_regex"); expr != "" {
		re, err := regexp.Compile("^(?:" + expr + ")$")
		if err != nil {
			c.text(http.StatusBadRequest, "Error while parsing name_regex: not a valid regular expression\n")
			return
		}
		d.name = re
	}
	var dump Dump
	if s.state.Dump != nil {
		dump = s.state.Dump()
	}
	sections := d.sections(&dump, c.has("include_eds"))
	resource, fields := c.get("resource"), parseMask(c.get("mask"))
	var out *adminv3.ConfigDump
	var problem *dumpProblem
	if resource != "" {
		out, problem = d.elements(sections, resource, fields)
	} else {
		out, problem = d.everything(sections, fields)
	}
	switch {
	case d.err != nil:
		c.text(http.StatusInternalServerError, "cannot be shown: "+clean(d.err.Error())+"\n")
	case problem != nil:
		c.text(problem.status, problem.text)
	default:
		c.proto(out, false)
	}
}

// A dumpProblem is an answer instead of a dump.
type dumpProblem struct {
	status int
	text   string
}

// A section is one dump message, made when it is wanted.
type section struct {
	kind protoreflect.MessageDescriptor
	make func() proto.Message
}

// sections are the dumps in Envoy's order.
func (d *dumper) sections(dump *Dump, endpoints bool) []section {
	var out []section
	add := func(kind proto.Message, make func(*Dump) proto.Message) {
		out = append(out, section{kind.ProtoReflect().Descriptor(), func() proto.Message { return make(dump) }})
	}
	if dump.Bootstrap != nil {
		add(&adminv3.BootstrapConfigDump{}, d.bootstrap)
	}
	add(&adminv3.ClustersConfigDump{}, d.clusters)
	if len(dump.Extensions) > 0 {
		add(&adminv3.EcdsConfigDump{}, d.extensions)
	}
	if endpoints && (dump.Endpoints != nil || len(dump.Assignments) > 0) {
		add(&adminv3.EndpointsConfigDump{}, d.endpoints)
	}
	add(&adminv3.ListenersConfigDump{}, d.listeners)
	add(&adminv3.ScopedRoutesConfigDump{}, d.scopedRoutes)
	add(&adminv3.RoutesConfigDump{}, d.routes)
	add(&adminv3.SecretsConfigDump{}, d.secrets)
	return out
}

// everything is all sections that the mask fits.
func (d *dumper) everything(sections []section, fields mask) (*adminv3.ConfigDump, *dumpProblem) {
	out := &adminv3.ConfigDump{}
	for _, s := range sections {
		if !fields.fits(s.kind) {
			continue
		}
		m := s.make()
		fields.apply(m.ProtoReflect())
		d.add(out, m)
	}
	if len(out.Configs) == 0 {
		return nil, &dumpProblem{http.StatusBadRequest, "FieldMask could not be successfully applied to any configs.\n"}
	}
	return out, nil
}

// add appends a message that is redacted already.
func (d *dumper) add(out *adminv3.ConfigDump, m proto.Message) {
	a, err := anypb.New(m)
	if err != nil {
		d.err = err
		return
	}
	out.Configs = append(out.Configs, a)
}

// elements is each element of the repeated field of that name, in the first dump that has it.
func (d *dumper) elements(sections []section, name string, fields mask) (*adminv3.ConfigDump, *dumpProblem) {
	shown := html.EscapeString(clean(name))
	for _, s := range sections {
		fd := s.kind.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			continue
		}
		if !fd.IsList() {
			return nil, &dumpProblem{http.StatusBadRequest, fmt.Sprintf("%s is not a repeated field. Use ?mask=%s to get only this field\n", shown, shown)}
		}
		out := &adminv3.ConfigDump{}
		list := s.make().ProtoReflect().Get(fd).List()
		for i := range list.Len() {
			m := list.Get(i).Message().Interface()
			if err := fields.applyResource(m); err != nil {
				return nil, &dumpProblem{http.StatusBadRequest, "FieldMask could not be successfully used.\n"}
			}
			d.add(out, m)
		}
		return out, nil
	}
	return nil, &dumpProblem{http.StatusNotFound, strings.TrimSpace(shown) + " not found in config dump\n"}
}
