package dispatch

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/observe/format"
	"github.com/weftproxy/weft/resource"
)

// discovered is a filter whose configuration is delivered, with more fields of config_discovery.
func discovered(name, more string) string {
	return `{"name": "` + name + `", "configDiscovery": {"configSource": ` + ads + `, "typeUrls": ["type.googleapis.com/google.protobuf.StringValue"]` + more + `}}`
}

const byDefault = `, "defaultConfig": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "d"}`

func TestFiltersAreDelivered(t *testing.T) {
	s := newShop(t)
	b := s.manager(inline("c"), discovered("x", "")+","+tagA, nil)
	log := &logbook{}
	log.format, _ = format.Compile("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%", format.Options{})
	d := b.Handler.(*Dispatcher)
	d.cfg.logs = append(d.cfg.logs, log)
	s.start(b, 1)
	if ready(b) {
		t.Error("ready without its filter")
	}
	s.expect(b, "no configuration", "500")
	if len(log.lines) != 1 || log.lines[0] != "500 NFCF -" {
		t.Errorf("logged %q", log.lines)
	}
	if p := s.filter("x", wrapperspb.String("x1")); len(p) > 0 || !ready(b) {
		t.Errorf("ready %v, problems %v", ready(b), p)
	}
	s.expect(b, "first", "x1+a c 1")
	s.filter("x", wrapperspb.String("x2"))
	s.expect(b, "second", "x2+a c 1")
	for want, m := range map[string]*wrapperspb.StringValue{`error: extension "x": typed_config: bad tag bad`: wrapperspb.String("bad")} {
		if got := texts(s.filter("x", m)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	const type2 = `error: extension "x": typed_config: filter config has type URL google.protobuf.BytesValue but expect google.protobuf.StringValue`
	if got := texts(s.filter("x", wrapperspb.Bytes(nil))); got != type2 {
		t.Errorf("%s, want %s", got, type2)
	}
	s.expect(b, "rejected", "x2+a c 1")
	key := resource.Key{Type: resource.Filter, Name: "x"}
	s.hub.Remove(s.source, key)
	s.expect(b, "removed", "500")
	s.filter("x", wrapperspb.String("x2"))
	s.expect(b, "there again", "x2+a c 1")
	for name, want := range map[string]uint64{"config_reload": 4, "config_fail": 2, "config_conflict": 0, "update_success": 3, "update_rejected": 2} {
		if got := s.env.Stats.Scope("extension_config_discovery.http_filter.x.").Counter(name).Value(); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestDefaultsOfFiltersThatAreDelivered(t *testing.T) {
	for _, at := range []struct {
		more  string
		ready bool
	}{{byDefault, false}, {byDefault + `, "applyDefaultConfigWithoutWarming": true`, true}} {
		s := newShop(t)
		b := s.manager(inline("c"), discovered("x", at.more), nil)
		s.start(b, 1)
		if ready(b) != at.ready {
			t.Errorf("%s: ready %v", at.more, ready(b))
		}
		s.expect(b, "by default", "d c 1")
		s.filter("x", wrapperspb.String("x1"))
		s.expect(b, "delivered", "x1 c 1")
		s.hub.Remove(s.source, resource.Key{Type: resource.Filter, Name: "x"})
		s.expect(b, "removed", "d c 1")
	}
}

func TestFiltersAndRoutesThatAreDeliveredFitOneAnother(t *testing.T) {
	s := newShop(t)
	b := s.manager(rds, discovered("x", "")+","+discovered("y", byDefault), nil)
	s.start(b, 1)
	s.filter("x", wrapperspb.String("plain"))
	const refused = `error: route "r": virtual_hosts[0].routes[0].typed_per_filter_config["x"]: takes no overrides`
	if got := texts(s.routes("r", virtualHost("c1", "*", overrideOf("x", "o")))); got != refused {
		t.Errorf("%s, want %s", got, refused)
	}
	s.expect(b, "no routes yet", "404")
	s.filter("x", wrapperspb.String("x1"))
	if p := s.routes("r", virtualHost("c1", "*", overrideOf("x", "o"))); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
	s.expect(b, "fits now", "x1/o+d c1 1")
	const changed = `error: extension "x": route "r": virtual_hosts[0].routes[0].typed_per_filter_config["x"]: takes no overrides`
	if got := texts(s.filter("x", wrapperspb.String("plain"))); got != changed {
		t.Errorf("%s, want %s", got, changed)
	}
	s.expect(b, "rejected", "x1/o+d c1 1")
	s.filter("y", wrapperspb.String("y1"))
	s.expect(b, "another filter", "x1/o+y1 c1 1")
	s.filter("x", wrapperspb.String("x2"))
	s.expect(b, "the override follows its filter", "x2/o+y1 c1 1")

	next := s.manager(rds, discovered("y", "")+","+discovered("x", ""), b.Handler)
	hold(next)
	if !ready(next) {
		t.Error("all is there, and it is not ready")
	}
	s.expect(b, "before publication", "x2/o+y1 c1 1")
	next.Publish(s.table(2))
	s.expect(next, "published", "y1+x2/o c1 2")
	release(b)
}

// TestAVersionThatDoesNotFitALaterUser is Envoy's config_conflict: the connection manager is accepted, and goes without.
func TestAVersionThatDoesNotFitALaterUser(t *testing.T) {
	s := newShop(t)
	first := s.manager(inline("c"), discovered("x", ""), nil)
	s.start(first, 1)
	s.filter("x", wrapperspb.String("plain"))
	second := s.manager(`"routeConfig": {"virtualHosts": [`+virtualHost("c", "*", overrideOf("x", "o"))+`]}`, discovered("x", byDefault), nil)
	s.start(second, 2)
	if !ready(second) {
		t.Error("not ready")
	}
	s.expect(first, "the first", "plain c 1")
	s.expect(second, "the second", "d/o c 2")
	scope := s.env.Stats.Scope("extension_config_discovery.http_filter.x.")
	if n := scope.Counter("config_conflict").Value(); n != 1 {
		t.Errorf("config_conflict is %d", n)
	}
	s.filter("x", wrapperspb.String("x1"))
	s.expect(first, "the first", "x1 c 1")
	s.expect(second, "the second", "x1/o c 2")
}

func TestConfigDiscoveryThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		filters string
		change  func(*shop)
		want    string
	}{
		"no hub": {discovered("x", ""), func(s *shop) { s.env.Hub = nil },
			`at.http_filters[0].config_discovery: no configuration is delivered here (hint: give the filter's configuration in typed_config)`},
		"no default": {discovered("x", `, "applyDefaultConfigWithoutWarming": true`), nil,
			`at.http_filters[0].config_discovery.default_config: filter config x applied without warming but has no default config`},
		"default of another type": {discovered("x", `, "defaultConfig": {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": ""}`), nil,
			`at.http_filters[0].config_discovery.default_config: filter config has type URL google.protobuf.BytesValue but expect google.protobuf.StringValue`},
		"bad default": {discovered("x", strings.ReplaceAll(byDefault, `"d"`, `"bad"`)), nil,
			`at.http_filters[0].config_discovery.default_config: bad tag bad`},
		"no types": {strings.ReplaceAll(discovered("x", ""), `["type.googleapis.com/google.protobuf.StringValue"]`, `[]`), nil,
			`at.http_filters[0].config_discovery.type_urls: must have at least one item`},
		"unknown type": {strings.ReplaceAll(discovered("x", ""), `StringValue`, `UInt32Value`), nil,
			`at.http_filters[0].config_discovery.type_urls[0]: no factory found for a required type URL google.protobuf.UInt32Value`},
	} {
		s := newShop(t)
		if c.change != nil {
			c.change(s)
		}
		_, p := s.try(inline("c"), c.filters, nil)
		if want := `error: listener "l": ` + c.want; texts(p.All()) != want {
			t.Errorf("%s:\n%s, want\n%s", name, texts(p.All()), want)
		}
	}
}
