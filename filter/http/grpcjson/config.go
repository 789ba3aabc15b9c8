package grpcjson

import (
	"errors"
	"fmt"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
)

// defaultLimit is how much of a message is gathered, in bytes, where neither the filter nor the listener says: Envoy's
// per_connection_buffer_limit_bytes.
const defaultLimit = 1 << 20

// A Filter is envoy.filters.http.grpc_json_transcoder, compiled. Immutable; safe for concurrent use.
type Filter struct {
	off   bool // there are no services: everything passes
	paths paths
	enums enums
	types *dynamicpb.Types
	stats *stats.Group[Stats]

	read  protojson.UnmarshalOptions
	write printer

	keepRoute      bool // match_incoming_request_route
	convertStatus  bool
	ignored        map[string]bool // query parameters
	ignoreUnknown  bool
	captureUnknown bool
	plus           bool // '+' is a space in query parameters
	unescape       unescapeSpec
	foldEnums      bool

	rejectUnknownMethod, rejectUnknownQuery, rejectCollisions bool

	requestLimit, responseLimit int // bytes
}

// Stats are the statistics of the filter, below http.<stat_prefix>.
type Stats struct {
	RequestBuffer  stats.Gauge `stat:"transcoder_request_buffer_bytes"`
	ResponseBuffer stats.Gauge `stat:"transcoder_response_buffer_bytes"`
}

// New compiles the filter. The descriptor set is read at once.
func New(env *extension.Env, cfg *transcoderv3.GrpcJsonTranscoder) (exchange.Filter, error) {
	if len(cfg.GetServices()) == 0 {
		return &Filter{off: true}, nil
	}
	files, err := readDescriptors(env, cfg)
	if err != nil {
		return nil, err
	}
	f := newFilter(env, cfg)
	f.types = dynamicpb.NewTypes(files)
	f.read = protojson.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true, Resolver: f.types}
	f.write.messages.Resolver = f.types
	c := ruleCompiler{paths: &f.paths, enums: f.enums, warn: func(format string, args ...any) {
		if env.Problems != nil {
			env.Problems.Warnf(env.Path, "", format, args...)
		}
	}}
	for _, name := range cfg.GetServices() {
		d, _ := files.FindDescriptorByName(protoreflect.FullName(name))
		service, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			return nil, fmt.Errorf("transcoding_filter: Could not find '%s' in the proto descriptor", name)
		}
		for i := range service.Methods().Len() {
			if err := c.method(service.Methods().Get(i), cfg.GetAutoMapping()); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// newFilter takes over what needs no descriptors.
func newFilter(env *extension.Env, cfg *transcoderv3.GrpcJsonTranscoder) *Filter {
	strict := cfg.GetRequestValidationOptions()
	f := &Filter{
		enums: enums{}, ignored: map[string]bool{},
		write:     newPrinter(cfg.GetPrintOptions()),
		keepRoute: cfg.GetMatchIncomingRequestRoute(), convertStatus: cfg.GetConvertGrpcStatus(),
		ignoreUnknown: cfg.GetIgnoreUnknownQueryParameters(), captureUnknown: cfg.GetCaptureUnknownQueryParameters(),
		plus: cfg.GetQueryParamUnescapePlus(), foldEnums: cfg.GetCaseInsensitiveEnumParsing(),
		rejectUnknownMethod: strict.GetRejectUnknownMethod(), rejectUnknownQuery: strict.GetRejectUnknownQueryParameters(),
		rejectCollisions: strict.GetRejectBindingBodyFieldCollisions(),
	}
	f.paths.anyVerb = cfg.GetMatchUnregisteredCustomVerb()
	for _, name := range cfg.GetIgnoredQueryParameters() {
		f.ignored[name] = true
	}
	switch cfg.GetUrlUnescapeSpec() {
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS_EXCEPT_SLASH:
		f.unescape = exceptSlash
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS:
		f.unescape = everything
	}
	limit := env.Listener.BufferLimit
	if limit <= 0 {
		limit = defaultLimit
	}
	f.requestLimit, f.responseLimit = limit, limit
	if v := cfg.GetMaxRequestBodySize(); v != nil {
		f.requestLimit = int(v.GetValue())
	}
	if v := cfg.GetMaxResponseBodySize(); v != nil {
		f.responseLimit = int(v.GetValue())
	}
	scope := env.HTTP
	if scope == nil {
		scope = env.Stats.Scope("http.")
	}
	f.stats = stats.NewGroup[Stats](scope)
	return f
}

// readDescriptors reads the descriptor set of a file or of the configuration itself.
func readDescriptors(env *extension.Env, cfg *transcoderv3.GrpcJsonTranscoder) (*protoregistry.Files, error) {
	var text []byte
	switch d := cfg.GetDescriptorSet().(type) {
	case *transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin:
		text = d.ProtoDescriptorBin
	case *transcoderv3.GrpcJsonTranscoder_ProtoDescriptor:
		if env.Format.ReadFile == nil {
			return nil, errors.New("proto_descriptor: files cannot be read here")
		}
		b, err := env.Format.ReadFile(d.ProtoDescriptor)
		if err != nil {
			return nil, fmt.Errorf("proto_descriptor: %w", err)
		}
		text = b
	default:
		return nil, errors.New("transcoding_filter: descriptor not set")
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(text, &set); err != nil {
		return nil, errors.New("transcoding_filter: Unable to parse proto descriptor")
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("transcoding_filter: Unable to build proto descriptor pool: %w", err)
	}
	return files, nil
}
