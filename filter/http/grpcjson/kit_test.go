package grpcjson

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/grpc"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fields describes the fields of a message: "name type" or "name [type]" for repeated ones, numbered from 1.
func fields(name string, list ...string) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: &name}
	for i, f := range list {
		fieldName, kind, _ := strings.Cut(f, " ")
		fd := &descriptorpb.FieldDescriptorProto{Name: &fieldName, Number: proto.Int32(int32(i + 1)),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if inner, ok := strings.CutPrefix(kind, "["); ok {
			kind = strings.TrimSuffix(inner, "]")
			fd.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		if n, ok := descriptorpb.FieldDescriptorProto_Type_value["TYPE_"+strings.ToUpper(kind)]; ok {
			fd.Type = descriptorpb.FieldDescriptorProto_Type(n).Enum()
		} else if kind == ".books.Genre" {
			fd.Type, fd.TypeName = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), &kind
		} else {
			fd.Type, fd.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(kind)
		}
		m.Field = append(m.Field, fd)
	}
	return m
}

// method describes a method: "Name Input Output", with "stream " in front of a type that is streamed.
func method(signature string, rule *annotations.HttpRule) *descriptorpb.MethodDescriptorProto {
	m := &descriptorpb.MethodDescriptorProto{}
	words := strings.Fields(signature)
	m.Name, words = &words[0], words[1:]
	for i := range 2 {
		stream := words[0] == "stream"
		if stream {
			words = words[1:]
		}
		if i == 0 {
			m.InputType, m.ClientStreaming = &words[0], &stream
		} else {
			m.OutputType, m.ServerStreaming = &words[0], &stream
		}
		words = words[1:]
	}
	if rule != nil {
		m.Options = &descriptorpb.MethodOptions{}
		proto.SetExtension(m.Options, annotations.E_Http, rule)
	}
	return m
}

func get(path string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
}

func post(path, body string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: body}
}

// bookstore is the service of the tests.
func bookstore() *descriptorpb.FileDescriptorSet {
	enum := &descriptorpb.EnumDescriptorProto{Name: proto.String("Genre")}
	for i, name := range []string{"GENRE_UNKNOWN", "CHILDREN", "SCIENCE_FICTION"} {
		enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(i))})
	}
	getBook := get("/shelves/{shelf}/books/{book}")
	getBook.AdditionalBindings = []*annotations.HttpRule{get("/books/{book}"), post("/books:get", "*")}
	downloadField, title := get("/download/field"), get("/title")
	downloadField.ResponseBody, title.ResponseBody = "file", "title"
	tags, pages := get("/tags"), get("/pages")
	tags.ResponseBody, pages.ResponseBody = "tags", "page_count"
	index := fields("Index", "name string", "genres [.books.Index.GenresEntry]", "shelves [.books.Index.ShelvesEntry]")
	index.NestedType = []*descriptorpb.DescriptorProto{fields("GenresEntry", "key string", "value .books.Genre"),
		fields("ShelvesEntry", "key string", "value .books.Shelf")}
	for _, entry := range index.NestedType {
		entry.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
	}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("books.proto"), Package: proto.String("books"), Syntax: proto.String("proto3"),
		EnumType: []*descriptorpb.EnumDescriptorProto{enum},
		MessageType: []*descriptorpb.DescriptorProto{
			fields("Empty"),
			fields("Shelf", "id int64", "theme string", "genre .books.Genre", "tags [string]", "made .google.protobuf.Timestamp",
				"big_note .google.protobuf.StringValue", "genres [.books.Genre]", "inner .books.Shelf", "any .google.protobuf.Any",
				"page_count int32"),
			fields("Wrap", "shelf .books.Shelf"),
			fields("Book", "id int64", "author string", "title string"),
			fields("GetBook", "shelf int64", "book int64"),
			fields("CreateBook", "shelf int64", "book .books.Book"),
			fields("Find", "name string", "book .books.Book", "pages [int32]", "genres [.books.Genre]", "since .google.protobuf.Timestamp",
				"age .google.protobuf.Duration", "sold .google.protobuf.BoolValue", "how_many .google.protobuf.Int32Value", "price double",
				"token bytes", "mask .google.protobuf.FieldMask", "any_value .google.protobuf.Value", "ok bool", "size uint64", "ratio float",
				"half uint32", "times [.google.protobuf.Timestamp]"),
			fields("Upload", "name string", "file .google.api.HttpBody"),
			fields("Download", "file .google.api.HttpBody"),
			index,
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Store"), Method: []*descriptorpb.MethodDescriptorProto{
			method("ListShelves .books.Empty .books.Shelf", get("/shelves")),
			method("CreateShelf .books.Shelf .books.Shelf", post("/shelf", "*")),
			method("GetBook .books.GetBook .books.Book", getBook),
			method("CreateBook .books.CreateBook .books.Book", post("/shelves/{shelf}/books", "book")),
			method("Find .books.Find .books.Book", get("/v1/{name=shelves/*/books/**}:find")),
			method("FindAny .books.Find .books.Book", get("/find")),
			method("Bulk stream .books.Shelf .books.Shelf", post("/bulk", "*")),
			method("BulkBooks stream .books.CreateBook .books.Book", post("/bulk/{shelf}", "book")),
			method("Watch .books.Find stream .books.Shelf", get("/watch/{name=**}")),
			method("Echo stream .books.Shelf stream .books.Shelf", post("/echo", "*")),
			method("Upload .google.api.HttpBody .books.Empty", post("/upload", "*")),
			method("UploadTo .books.Upload .books.Empty", post("/upload/{name}", "file")),
			method("UploadMany stream .books.Upload .books.Empty", post("/uploads/{name}", "file")),
			method("Download .books.Find .google.api.HttpBody", get("/download")),
			method("DownloadField .books.Find .books.Download", downloadField),
			method("DownloadMany .books.Find stream .google.api.HttpBody", get("/downloads")),
			method("Title .books.Find .books.Book", title),
			method("Tags .books.Find .books.Shelf", tags),
			method("Pages .books.Find .books.Shelf", pages),
			method("PutWrap .books.Wrap .books.Empty", post("/wrap", "*")),
			method("Wild .books.Find .books.Book", &annotations.HttpRule{Pattern: &annotations.HttpRule_Custom{
				Custom: &annotations.CustomHttpPattern{Kind: "REPORT", Path: "/report/{book.title}"}}}),
			method("Plain .books.GetBook .books.Book", nil),
			method("PutIndex .books.Index .books.Empty", &annotations.HttpRule{Pattern: &annotations.HttpRule_Put{Put: "/index"}, Body: "*"}),
			method("PutGenres .books.Index .books.Empty", &annotations.HttpRule{
				Pattern: &annotations.HttpRule_Patch{Patch: "/index"}, Body: "genres"}),
			method("Drop .books.Find .books.Empty", &annotations.HttpRule{Pattern: &annotations.HttpRule_Delete{Delete: "/index/{name}"}}),
		}}},
	}
	set := &descriptorpb.FileDescriptorSet{}
	known := map[string]bool{}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if known[fd.Path()] {
			return
		}
		known[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
	}
	for _, fd := range []protoreflect.FileDescriptor{annotations.File_google_api_annotations_proto, httpbody.File_google_api_httpbody_proto,
		timestamppb.File_google_protobuf_timestamp_proto, durationpb.File_google_protobuf_duration_proto, anypb.File_google_protobuf_any_proto,
		wrapperspb.File_google_protobuf_wrappers_proto, fieldmaskpb.File_google_protobuf_field_mask_proto,
		structpb.File_google_protobuf_struct_proto} {
		add(fd)
		file.Dependency = append(file.Dependency, fd.Path())
	}
	set.File = append(set.File, file)
	return set
}

// compile compiles a filter for the bookstore with more configuration in JSON.
func compile(t testing.TB, cfg string) *Filter {
	t.Helper()
	f, err := tryCompile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func tryCompile(cfg string) (exchange.Filter, error) {
	m := &transcoderv3.GrpcJsonTranscoder{}
	if cfg != "" {
		if err := protojson.Unmarshal([]byte(cfg), m); err != nil {
			return nil, err
		}
	}
	if m.DescriptorSet == nil {
		text, err := proto.Marshal(bookstore())
		if err != nil {
			return nil, err
		}
		m.DescriptorSet = &transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin{ProtoDescriptorBin: text}
	}
	if m.Services == nil {
		m.Services = []string{"books.Store"}
	}
	return New(&extension.Env{Stats: stats.NewStore(stats.Options{})}, m)
}

// chunks is a body that comes in pieces, all in the same memory. It ends with err, or io.EOF, and trailers.
type chunks struct {
	buf     []byte
	list    []string
	err     error
	trailer *message.Header
	at      int
	closed  int
	cause   error
}

func (c *chunks) Next() ([]byte, error) {
	if c.at < len(c.list) {
		c.at++
		for i := range c.buf {
			c.buf[i] = '?'
		}
		c.buf = append(c.buf[:0], c.list[c.at-1]...)
		return c.buf, nil
	}
	if c.err != nil {
		return nil, c.err
	}
	return nil, io.EOF
}

func (c *chunks) Ready() bool { return true }

func (c *chunks) Trailer() *message.Header {
	if c.at < len(c.list) {
		return nil
	}
	return c.trailer
}

func (c *chunks) Close(cause error) {
	c.closed++
	c.cause = cause
}

// dribble cuts a text into pieces of n bytes.
func dribble(s string, n int) []string {
	var out []string
	for len(s) > n {
		out, s = append(out, s[:n]), s[n:]
	}
	if s != "" {
		out = append(out, s)
	}
	return out
}

// An upstream answers gRPC calls. It notes what it was sent.
type upstream struct {
	f      *Filter
	answer func(u *upstream) *message.Response

	called    bool
	method    string
	path      string
	header    message.Header
	messages  []string // as JSON
	chunks    int      // in which they came
	err       error    // with which the body broke off
	length    int64
	wireBytes int
}

// Handle implements exchange.Filter.
func (u *upstream) Handle(_ context.Context, x *exchange.Exchange, _ exchange.Next) (*message.Response, error) {
	u.called, u.method, u.path, u.length = true, x.Request.Method, x.Request.Path, x.Request.Length
	u.header.CopyFrom(&x.Request.Header)
	var text []byte
	for {
		p, err := x.Request.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			u.err = err
			return nil, err
		}
		u.chunks++
		text = append(text, p...)
	}
	u.wireBytes = len(text)
	md := u.descriptor(x.Request.Path)
	if md == nil || !u.header.Has(originalMethod) {
		u.messages = []string{string(text)}
		return u.answer(u), nil
	}
	reader := grpc.NewReader(message.NewBytes(text), 1<<24)
	for {
		flags, msg, err := reader.Next()
		if err == io.EOF {
			return u.answer(u), nil
		}
		if err != nil || flags != 0 {
			return nil, errors.New("the frames are broken")
		}
		m := dynamicpb.NewMessage(md.Input())
		if err := proto.Unmarshal(msg, m); err != nil {
			return nil, err
		}
		out, err := (&printer{messages: protojson.MarshalOptions{Resolver: u.f.types}}).append(nil, m, nil)
		if err != nil {
			return nil, err
		}
		u.messages = append(u.messages, string(out))
	}
}

// descriptor finds the method of a path.
func (u *upstream) descriptor(path string) protoreflect.MethodDescriptor {
	name, ok := strings.CutPrefix(path, "/books.Store/")
	if !ok {
		return nil
	}
	files, err := protodesc.NewFiles(bookstore())
	if err != nil {
		return nil
	}
	d, _ := files.FindDescriptorByName("books.Store")
	return d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
}

// frame makes a frame of a message given as JSON.
func frame(t testing.TB, f *Filter, kind, text string) string {
	t.Helper()
	mt, err := f.types.FindMessageByName(protoreflect.FullName(kind))
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New().Interface()
	if err := (protojson.UnmarshalOptions{Resolver: f.types}).Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(append(grpc.AppendFrameHeader(nil, 0, len(b)), b...))
}

// headerOf makes a header of "name: value" lines.
func headerOf(lines ...string) *message.Header {
	h := &message.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

// respond makes an answer of frames and trailers.
func respond(list []string, trailers ...string) func(*upstream) *message.Response {
	return func(*upstream) *message.Response {
		r := &message.Response{Status: 200, Length: -1, Body: &chunks{list: list, trailer: headerOf(trailers...)}}
		r.Header.Add("content-type", "application/grpc")
		r.Header.Add("trailer", "grpc-status")
		return r
	}
}

// trailersOnly makes an answer without a body.
func trailersOnly(lines ...string) func(*upstream) *message.Response {
	return func(*upstream) *message.Response {
		r := &message.Response{Status: 200, Body: message.NoBody}
		r.Header.CopyFrom(headerOf(append([]string{"content-type: application/grpc"}, lines...)...))
		return r
	}
}

// A trip is one exchange and what came of it.
type trip struct {
	method, path string
	header       []string
	body         []string
	bodyErr      error
	answer       func(*upstream) *message.Response

	up       *upstream
	resp     *message.Response
	text     string
	parts    []string // of the body, as they came
	bodyEnd  error    // nil: io.EOF
	src      *chunks
	answered *chunks // the upstream's body, where it has one
	rerouted int
	err      *exchange.Error
}

// run sends the request through the filter.
func (r *trip) run(t testing.TB, f *Filter) *trip {
	t.Helper()
	r.up = &upstream{f: f, answer: r.answer}
	if r.answer == nil {
		r.up.answer = trailersOnly("grpc-status: 0")
	}
	inner := r.up.answer
	r.up.answer = func(u *upstream) *message.Response {
		resp := inner(u)
		r.answered, _ = resp.Body.(*chunks)
		return resp
	}
	r.src = &chunks{list: r.body, err: r.bodyErr}
	req := &message.Request{Method: r.method, Path: r.path, Scheme: "http", Authority: "x", Body: message.NoBody}
	req.Header.CopyFrom(headerOf(r.header...))
	if r.body != nil || r.bodyErr != nil {
		req.Body, req.Length = r.src, -1
	}
	x := &exchange.Exchange{}
	x.Begin(req, &conn.Info{}, func(*exchange.Exchange) { r.rerouted++ })
	x.Take(&exchange.Route{}, []exchange.Filter{f, r.up})
	resp, err := x.Run(t.Context())
	if err != nil {
		r.err = exchange.AsError(err)
		return r
	}
	r.resp = resp
	if resp.Local != nil {
		r.err = exchange.AsError(resp.Local)
	}
	var text bytes.Buffer
	for {
		p, err := resp.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			r.bodyEnd = err
			break
		}
		r.parts = append(r.parts, string(p))
		text.Write(p)
	}
	r.text = text.String()
	if resp.Length >= 0 && r.err == nil && r.bodyEnd == nil && int(resp.Length) != text.Len() {
		t.Errorf("%s: length %d, but the body has %d bytes", r.path, resp.Length, text.Len())
	}
	resp.Body.Close(nil)
	return r
}

// sent is what the upstream got: "path message message".
func (r *trip) sent() string {
	if !r.up.called {
		return ""
	}
	return strings.Join(append([]string{strings.TrimPrefix(r.up.path, "/books.Store/")}, r.up.messages...), " ")
}
