package grpcjson

import (
	"errors"
	"strings"
	"testing"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestSupportIsComplete(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
	x := Extension()
	if _, err := extension.NewRegistry(extension.Extensions{HTTP: []extension.HTTPFilter{x}}); err != nil {
		t.Error(err)
	}
}

func TestConfigurationsAreRejected(t *testing.T) {
	for _, tt := range []struct{ cfg, want string }{
		{`{"services":["books.Nobody"]}`, "Could not find 'books.Nobody' in the proto descriptor"},
		{`{"services":["books.Shelf"]}`, "Could not find 'books.Shelf' in the proto descriptor"},
		{`{"protoDescriptorBin":"////"}`, "Unable to parse proto descriptor"},
		{`{"protoDescriptor":"file"}`, "files cannot be read"},
	} {
		if _, err := tryCompile(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.cfg, err)
		}
	}
	for _, tt := range []struct {
		rule *annotations.HttpRule
		want string
	}{
		{get("nothing"), `path template "nothing": expected '/'`},
		{post("/x", "nobody"), `could not find field "nobody" in the type "books.Find"`},
		{&annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: "/x"}, ResponseBody: "nobody"},
			`could not find field "nobody" in the type "books.Book"`},
		{&annotations.HttpRule{AdditionalBindings: []*annotations.HttpRule{get("/{x")}}, "unfinished variable"},
	} {
		_, err := compileRule(tt.rule, &extension.Env{Stats: stats.NewStore(stats.Options{})})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "Cannot register 'books.Store.FindAny'") {
			t.Errorf("%v: %v", tt.rule, err)
		}
	}
}

// compileRule gives one method of the bookstore another rule.
func compileRule(rule *annotations.HttpRule, env *extension.Env) (any, error) {
	set := bookstore()
	for _, m := range set.File[len(set.File)-1].Service[0].Method {
		if m.GetName() == "FindAny" {
			proto.SetExtension(m.Options, annotations.E_Http, rule)
		}
	}
	return New(env, configOf(set))
}

func configOf(set *descriptorpb.FileDescriptorSet) *transcoderv3.GrpcJsonTranscoder {
	text, _ := proto.Marshal(set)
	return &transcoderv3.GrpcJsonTranscoder{Services: []string{"books.Store"},
		DescriptorSet: &transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin{ProtoDescriptorBin: text}}
}

func TestMethodsWithTheSameRequestsAreWarnedOf(t *testing.T) {
	problems := &resource.Problems{}
	f, err := compileRule(get("/shelves"), &extension.Env{Stats: stats.NewStore(stats.Options{}), Problems: problems})
	if err != nil {
		t.Fatal(err)
	}
	if problems.HasErrors() || problems.Len() != 1 || !strings.Contains(problems.All()[0].Message, "neither serves it") {
		t.Errorf("problems: %v", problems.All())
	}
	if r := (&trip{method: "GET", path: "/shelves"}).run(t, f.(*Filter)); r.sent() != "/shelves " {
		t.Errorf("sent %s", r.sent())
	}
}

func TestDescriptorsOfAFile(t *testing.T) {
	text, err := proto.Marshal(bookstore())
	if err != nil {
		t.Fatal(err)
	}
	env := &extension.Env{Stats: stats.NewStore(stats.Options{})}
	env.Format.ReadFile = func(name string) ([]byte, error) {
		if name != "books.pb" {
			return nil, errors.New("no such file")
		}
		return text, nil
	}
	cfg := &transcoderv3.GrpcJsonTranscoder{Services: []string{"books.Store"},
		DescriptorSet: &transcoderv3.GrpcJsonTranscoder_ProtoDescriptor{ProtoDescriptor: "books.pb"}}
	f, err := New(env, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r := (&trip{method: "GET", path: "/shelves"}).run(t, f.(*Filter)); r.sent() != "ListShelves {}" {
		t.Errorf("sent %s", r.sent())
	}
	cfg.DescriptorSet = &transcoderv3.GrpcJsonTranscoder_ProtoDescriptor{ProtoDescriptor: "else.pb"}
	if _, err := New(env, cfg); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
	cfg.DescriptorSet = nil
	if _, err := New(env, cfg); err == nil || !strings.Contains(err.Error(), "descriptor not set") {
		t.Errorf("no descriptors: %v", err)
	}
	set := bookstore()
	set.File = set.File[len(set.File)-1:]
	if _, err := New(env, configOf(set)); err == nil || !strings.Contains(err.Error(), "Unable to build proto descriptor pool") {
		t.Errorf("missing imports: %v", err)
	}
}

func TestRoutesMayHaveTheirOwn(t *testing.T) {
	x := Extension()
	f := compile(t, "")
	g, err := x.ForRoute(&extension.Env{}, f, &transcoderv3.GrpcJsonTranscoder{})
	if err != nil {
		t.Fatal(err)
	}
	r := (&trip{method: "GET", path: "/shelves"}).run(t, g.(*Filter))
	if r.up.path != "/shelves" {
		t.Errorf("without services the filter is off: sent %s", r.sent())
	}
	h, err := x.New(&extension.Env{Stats: stats.NewStore(stats.Options{})}, configOf(bookstore()))
	if err != nil {
		t.Fatal(err)
	}
	if r := (&trip{method: "GET", path: "/shelves"}).run(t, h.(*Filter)); r.sent() != "ListShelves {}" {
		t.Errorf("sent %s", r.sent())
	}
}
