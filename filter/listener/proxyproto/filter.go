// Package proxyproto is the listener filter envoy.filters.listener.proxy_protocol: it takes a PROXY protocol header off the front of a
// connection and notes the addresses it tells.
package proxyproto

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ppv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
	wire "github.com/weftproxy/weft/transport/proxyproto"
)

// namespace is where extensions go in the dynamic metadata when a rule does not say.
const namespace = "envoy.filters.listener.proxy_protocol"

// Extension is the listener filter.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{
		Name: namespace, Config: &ppv3.ProxyProtocol{},
		New: func(env *extension.Env, cfg proto.Message) (extension.Inspector, error) {
			return New(env, cfg.(*ppv3.ProxyProtocol))
		},
		Support: Support,
	}
}

// Support says what Weft does with the filter's fields.
func Support() resource.Support {
	const pkg = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
	return resource.Support{
		pkg: resource.Names("rules allow_requests_without_proxy_protocol disallowed_versions stat_prefix tlv_location").
			YesBut("pass_through_tlvs", "kept with the connection; nothing sends them upstream yet").
			No("tlv_location=FILTER_STATE", "there is no filter state; use DYNAMIC_METADATA"),
		pkg + ".Rule":         resource.Names("tlv_type on_tlv_present"),
		pkg + ".KeyValuePair": resource.Names("metadata_namespace key value_string_encoding"),
		"envoy.config.core.v3.ProxyProtocolPassThroughTLVs": resource.Names("match_type tlv_type"),
	}
}

// A Filter is the filter compiled. Immutable; safe for concurrent use.
type Filter struct {
	rules      map[byte]rule
	optional   bool // connections without a header are let through
	disallowed [3]bool
	passAll    bool
	pass       [256]bool // by type
	stats      *stats.Group[Stats]
	errors     *stats.Counter
}

// A rule says where the value of an extension goes.
type rule struct {
	namespace, key string
	base64         bool
}

// Stats are the filter's statistics, by Envoy's names below proxy_proto.[<stat_prefix>.]
type Stats struct {
	NotFoundDisallowed stats.Counter `stat:"not_found_disallowed"`
	NotFoundAllowed    stats.Counter `stat:"not_found_allowed"`
	V1                 VersionStats  `stat:"versions.v1."`
	V2                 VersionStats  `stat:"versions.v2."`
}

// VersionStats are those of one version of the protocol.
type VersionStats struct {
	Found      stats.Counter `stat:"found"`
	Disallowed stats.Counter `stat:"disallowed"`
	Error      stats.Counter `stat:"error"`
}

// Why connections are closed.
var (
	errDisallowed = errors.New("PROXY protocol: this version is disallowed")
	errAddress    = errors.New("PROXY protocol: not an address that a connection can have")
)

// New compiles the filter.
func New(env *extension.Env, cfg *ppv3.ProxyProtocol) (*Filter, error) {
	f := &Filter{
		rules: map[byte]rule{}, optional: cfg.GetAllowRequestsWithoutProxyProtocol(),
		passAll: cfg.GetPassThroughTlvs() != nil && cfg.GetPassThroughTlvs().GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL,
		errors:  env.Stats.Scope("").Counter("downstream_cx_proxy_proto_error"),
	}
	prefix, tags := "proxy_proto.", []stats.Tag(nil)
	if p := cfg.GetStatPrefix(); p != "" {
		prefix, tags = prefix+p+".", []stats.Tag{{Name: "envoy.proxy_protocol_prefix", Value: p}}
	}
	f.stats = stats.NewGroup[Stats](env.Stats.Scope(prefix, tags...))
	for _, t := range cfg.GetPassThroughTlvs().GetTlvType() {
		f.pass[byte(t)] = true
	}
	for _, v := range cfg.GetDisallowedVersions() {
		f.disallowed[map[corev3.ProxyProtocolConfig_Version]int{corev3.ProxyProtocolConfig_V1: 1, corev3.ProxyProtocolConfig_V2: 2}[v]] = true
	}
	if f.disallowed[1] && f.disallowed[2] && !f.optional {
		env.Problems.Errorf(env.Path.Field("disallowed_versions"), "allow one of them, or requests without PROXY protocol", "both versions are disallowed: every connection would be closed")
	}
	for i, r := range cfg.GetRules() {
		if r.GetTlvType() > 255 {
			env.Problems.Errorf(env.Path.Field("rules").Index(i).Field("tlv_type"), "", "%d is not the type of an extension", r.GetTlvType())
		}
		to := r.GetOnTlvPresent()
		if to == nil {
			continue
		}
		at := rule{namespace, to.GetKey(), to.GetValueStringEncoding() == ppv3.ProxyProtocol_KeyValuePair_BASE64}
		if ns := to.GetMetadataNamespace(); ns != "" {
			at.namespace = ns
		}
		f.rules[byte(r.GetTlvType())] = at
	}
	return f, nil
}

// Inspect reads the header and closes the connection, by an error, when there is none or it is not to be had.
func (f *Filter) Inspect(_ context.Context, c *conn.Conn) error {
	st := f.stats.Lane(c.Lane)
	version, err := f.detect(c)
	switch {
	case err != nil:
		return err
	case version == 0 && f.optional:
		st.NotFoundAllowed.Inc()
		return nil
	case version == 0:
		st.NotFoundDisallowed.Inc()
		f.errors.Inc()
		return wire.ErrNoHeader
	}
	of := &st.V1
	if version == 2 {
		of = &st.V2
	}
	if f.disallowed[version] {
		of.Disallowed.Inc()
		f.errors.Inc()
		return errDisallowed
	}
	h, n, err := read(c)
	if err == nil {
		err = f.apply(c.Info(), &h)
	}
	var broken *wire.Error
	switch {
	case err == nil:
		of.Found.Inc()
		c.Discard(n)
		return nil
	case errors.As(err, &broken), errors.Is(err, errAddress):
		of.Error.Inc()
		f.errors.Inc()
	}
	return err
}

// detect waits until it is clear whether there is a header. A version that is disallowed is not looked for where connections need no
// header.
func (f *Filter) detect(c *conn.Conn) (int, error) {
	for {
		version, more := wire.Detect(c.Buffered())
		if !more {
			if f.optional && f.disallowed[version] {
				version = 0
			}
			return version, nil
		}
		if first := c.Buffered(); len(first) > 0 && f.optional && f.disallowed[versionOf(first[0])] {
			return 0, nil
		}
		if err := c.Fill(); err != nil {
			return 0, err
		}
	}
}

// versionOf is the version whose signature begins with b.
func versionOf(b byte) int {
	if b == 'P' {
		return 1
	}
	return 2
}

// read reads the whole header without consuming it.
func read(c *conn.Conn) (wire.Header, int, error) {
	for {
		h, n, need, err := wire.Decode(c.Buffered())
		if err != nil || n > 0 {
			return h, n, err
		}
		if _, err := c.Peek(need); err != nil {
			return wire.Header{}, 0, err
		}
	}
}

// apply notes what the header tells.
func (f *Filter) apply(info *conn.Info, h *wire.Header) error {
	if h.Local {
		return nil
	}
	if !usable(h.Source.Addr()) || !usable(h.Destination.Addr()) {
		return errAddress
	}
	source := netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port())
	destination := netip.AddrPortFrom(h.Destination.Addr().Unmap(), h.Destination.Port())
	if destination != info.Local {
		info.Local, info.Restored = destination, true
	}
	info.Remote = source
	for kind, value := range wire.Each(h.TLVs) {
		if r, ok := f.rules[kind]; ok {
			r.store(info, value)
		}
		if f.passAll || f.pass[kind] {
			info.ProxyTLVs, _ = wire.AppendTLV(info.ProxyTLVs, kind, value) // it came in one
		}
	}
	return nil
}

// usable reports whether a connection can have the address: one that is neither unspecified, nor multicast, nor broadcast.
func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// store puts a value into the dynamic metadata. Bytes that are not UTF-8 become "!" unless it is base64-encoded.
func (r *rule) store(info *conn.Info, value []byte) {
	text := ""
	if r.base64 {
		text = base64.StdEncoding.EncodeToString(value)
	} else {
		text = sanitize(value)
	}
	if info.Metadata == nil {
		info.Metadata = map[string]map[string]string{}
	}
	if info.Metadata[r.namespace] == nil {
		info.Metadata[r.namespace] = map[string]string{}
	}
	info.Metadata[r.namespace][r.key] = text
}

func sanitize(value []byte) string {
	if utf8.Valid(value) {
		return string(value)
	}
	var b strings.Builder
	for len(value) > 0 {
		r, n := utf8.DecodeRune(value)
		if r == utf8.RuneError && n == 1 {
			r = '!'
		}
		b.WriteRune(r)
		value = value[n:]
	}
	return b.String()
}
