//go:build interop

package interop

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// conformanceTime is how long a run of the conformance suite may take; directly it takes half a minute at most.
const conformanceTime = 3 * time.Minute

// conformanceFeatures is what the suite tests: everything that needs no TLS.
const conformanceFeatures = `
features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOLS]
  codecs: [CODECS]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsTls: false
  supportsHalfDuplexBidiOverHttp1: HALF_DUPLEX
`

// conformanceTotals matches the end of what the suite prints.
var conformanceTotals = regexp.MustCompile(`Total cases: (\d+)\n(\d+) passed, (\d+) failed\n(?:\(Another (\d+) failed as expected)?`)

// place is the fields of a message that say where a server is: 127.0.0.1 and the port of addr.
func place(t *testing.T, addr string, host, port protowire.Number) string {
	t.Helper()
	_, p, _ := strings.Cut(addr, ":")
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	b := protowire.AppendTag(nil, host, protowire.BytesType)
	b = protowire.AppendString(b, "127.0.0.1")
	b = protowire.AppendTag(b, port, protowire.VarintType)
	return hex.EncodeToString(protowire.AppendVarint(b, n))
}

// plainGRPC are the fields of a ServerCompatRequest that ask for a server that speaks gRPC with HTTP/2 only.
func plainGRPC() string {
	b := protowire.AppendTag(nil, 1, protowire.VarintType) // protocol
	b = protowire.AppendVarint(b, 2)                       // PROTOCOL_GRPC
	b = protowire.AppendTag(b, 2, protowire.VarintType)    // http_version
	return hex.EncodeToString(protowire.AppendVarint(b, 2))
}

// A suite is a run of the conformance suite.
type suite struct {
	features     string
	knownFailing []string // patterns of the cases that fail without Weft as well
	args         []string // more of the suite's arguments
	command      []string // the client or server under test
	env          []string // of the shim
	cases        int      // at least so many cases have to pass
}

// run runs the suite with the shim around its command; every case has to pass, but those known to fail.
func (s suite) run(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--conf", write(t, "features.yaml", s.features), "--trace", "--known-failing", "@" + write(t, "failing", strings.Join(s.knownFailing, "\n"))}, s.args...)
	args = append(append(args, "--", self, shimArg), s.command...)
	cmd := exec.Command(peer(t, "connectconformance"), args...)
	out := &output{}
	cmd.Stdout, cmd.Stderr, cmd.Env = out, out, append(os.Environ(), s.env...)
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(conformanceTime, func() { _ = cmd.Process.Kill() }) // an error is the process's having ended
	defer timer.Stop()
	err = cmd.Run()
	totals := conformanceTotals.FindStringSubmatch(out.String())
	if err != nil || totals == nil {
		t.Fatalf("%v\n%s", err, tail(out.String()))
	}
	passed, err := strconv.Atoi(totals[2])
	if err != nil {
		t.Fatal(err)
	}
	if failed := totals[3]; failed != "0" || passed < s.cases {
		t.Errorf("%d passed, %s failed, want at least %d and 0\n%s", passed, failed, s.cases, tail(out.String()))
	}
	t.Logf("%d of %s cases passed, %q failed as they do without Weft", passed, totals[1], totals[4])
}

// features are conformanceFeatures for some protocols and codecs.
func features(protocols, codecs string, halfDuplex bool) string {
	return strings.NewReplacer("PROTOCOLS", protocols, "CODECS", codecs, "HALF_DUPLEX", strconv.FormatBool(halfDuplex)).Replace(conformanceFeatures)
}

const (
	allProtocols = "PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB"
	allCodecs    = "CODEC_PROTO, CODEC_JSON"
)

// TestConformanceOfServers has the reference client of the conformance suite talk to the reference server through Weft: one listener for
// HTTP/1.1 and HTTP/2, and with the upstream the same version.
func TestConformanceOfServers(t *testing.T) {
	upstream := freeAddr(t)
	w := startWeft(t, upstream, setup{upstream: whatever})
	suite{
		features: features(allProtocols, allCodecs, true),
		args:     []string{"--mode", "server", "--max-servers", "1"},
		command:  []string{peer(t, "referenceserver"), "-port", port(upstream)},
		env:      []string{toSuite + "=" + place(t, w.addr, 1, 2)},
		cases:    1990,
	}.run(t)
	w.atRest()
}

// TestConformanceOfClients has the reference server answer the reference client, with the answers a client must be ready for: broken off,
// without a status, with more than was asked for.
func TestConformanceOfClients(t *testing.T) {
	upstream := freeAddr(t)
	w := startWeft(t, upstream, setup{upstream: whatever})
	suite{
		features: features(allProtocols, allCodecs, true),
		knownFailing: []string{ // connect-go says invalid_argument for internal
			"Connect Unexpected Responses/**/server-stream/incomplete-message",
			"Connect Unexpected Responses/**/server-stream/incomplete-message-prefix",
			"gRPC Unexpected Responses/**/server-stream/incomplete-message",
			"gRPC Unexpected Responses/**/server-stream/incomplete-message-prefix",
		},
		args:    []string{"--mode", "client", "--port", port(upstream)},
		command: []string{peer(t, "referenceclient")},
		env:     []string{toChild + "=" + place(t, w.addr, 6, 7)},
		cases:   2665,
	}.run(t)
	w.atRest()
}

// TestConformanceOfPlainGRPC has grpc-go's server behind Weft.
func TestConformanceOfPlainGRPC(t *testing.T) {
	upstream := freeAddr(t)
	w := startWeft(t, upstream, setup{upstream: http2})
	suite{
		features:     features("PROTOCOL_GRPC", "CODEC_PROTO", false),
		knownFailing: cardinality,
		args:         []string{"--mode", "server", "--max-servers", "1"},
		command:      []string{peer(t, "grpcserver"), "-port", port(upstream)},
		env:          []string{toSuite + "=" + place(t, w.addr, 1, 2)},
		cases:        370,
	}.run(t)
	w.atRest()
}

// TestConformanceOfTheGRPCWebFilter has gRPC-Web clients of HTTP/1.1 and HTTP/2 in front of Weft, and behind its filter a server that speaks
// gRPC only.
func TestConformanceOfTheGRPCWebFilter(t *testing.T) {
	upstream := freeAddr(t)
	w := startWeft(t, upstream, setup{upstream: http2, filters: grpcWebFilter})
	suite{
		features:     features("PROTOCOL_GRPC_WEB", "CODEC_PROTO", false),
		knownFailing: cardinality,
		args:         []string{"--mode", "server", "--max-servers", "1"},
		command:      []string{peer(t, "grpcserver"), "-port", port(upstream)},
		env:          []string{toChild + "=" + plainGRPC(), toSuite + "=" + place(t, w.addr, 1, 2)},
		cases:        335,
	}.run(t)
	w.atRest()
}

// cardinality are the cases of too many or no requests, which grpc-go answers with another status than the suite wants.
var cardinality = []string{
	"**/unary/multiple-requests", "**/unary/no-request", "**/server-stream/multiple-requests", "**/server-stream/no-request",
}

// atRest waits until Weft has no request any more, and checks that it found nothing wrong with its clients.
func (w *weft) atRest() {
	w.t.Helper()
	for _, name := range []string{"http.main.downstream_rq_active", "cluster.up.upstream_rq_active", "cluster.up.upstream_rq_pending_active"} {
		w.becomes(name, 0)
	}
	if n := w.stat("http.main.downstream_cx_protocol_error"); n != 0 {
		w.t.Error(fmt.Sprint(n, " connections were closed for errors of the protocol"))
	}
}
