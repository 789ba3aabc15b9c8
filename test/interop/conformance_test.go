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

// conformanceFeatures is what the suite tests: everything but HTTP/3, either with TLS or without.
const conformanceFeatures = `
features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOLS]
  codecs: [CODECS]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsTls: TLS
  supportsTlsClientCerts: MUTUAL
  supportsHalfDuplexBidiOverHttp1: HALF_DUPLEX
EXCLUDED
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
	flaky        string   // pattern of those that fail now and then without Weft as well
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
	if s.flaky != "" {
		args = append(args, "--known-flaky", s.flaky)
	}
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

// security says what the suite's client does.
type security int

const (
	plain  security = iota
	secure          // it speaks TLS
	mutual          // and the server asks for its certificate
)

// features are conformanceFeatures for some protocols and codecs, of cases with one security.
func features(protocols, codecs string, halfDuplex bool, s security) string {
	excluded := [...]string{plain: "", secure: "exclude_cases: [{useTls: false}]", mutual: "exclude_cases: [{useTls: false}, {useTlsClientCerts: false}]"}
	return strings.NewReplacer("PROTOCOLS", protocols, "CODECS", codecs, "HALF_DUPLEX", strconv.FormatBool(halfDuplex),
		"TLS", strconv.FormatBool(s != plain), "MUTUAL", strconv.FormatBool(s == mutual), "EXCLUDED", excluded[s]).Replace(conformanceFeatures)
}

const (
	allProtocols = "PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB"
	allCodecs    = "CODEC_PROTO, CODEC_JSON"
)

// cleartext are the fields of a ServerCompatRequest that ask for a server without TLS.
func cleartext() string {
	b := protowire.AppendTag(nil, 4, protowire.VarintType) // use_tls
	return hex.EncodeToString(protowire.AppendVarint(b, 0)) + anonymous()
}

// anonymous are those that ask for a server that does not look at certificates of clients.
func anonymous() string { return text(5, nil) } // client_tls_cert

// text is a field of bytes.
func text(field protowire.Number, value []byte) string {
	b := protowire.AppendTag(nil, field, protowire.BytesType)
	return hex.EncodeToString(protowire.AppendBytes(b, value))
}

// TestConformanceOfServers has the reference client of the conformance suite talk to the reference server through Weft: one listener for
// HTTP/1.1 and HTTP/2, and with the upstream the same version. Neither connection is in TLS, or the first, or both, and then the listener
// wants the certificate that the suite has made for its clients, which it does for few cases.
func TestConformanceOfServers(t *testing.T) {
	p := newPapers(t)
	for _, c := range []struct {
		name     string
		security security
		upTLS    bool
		cases    int
	}{{"cleartext", plain, false, 1990}, {"TLS to cleartext", secure, false, 1810}, {"mutual TLS to TLS", mutual, true, 20}} {
		t.Run(c.name, func(t *testing.T) {
			upstream := freeAddr(t)
			command, toServer, s := []string{peer(t, "referenceserver"), "-port", port(upstream)}, "", setup{upstream: whatever}
			fromServer, trust := "", ""
			switch c.security {
			case secure:
				s.socket, toServer, fromServer = p.localSocket(""), cleartext(), text(3, p.root.PEM())
			case mutual:
				trust = p.file("clients.pem", p.stranger.PEM())
				s.socket, toServer, fromServer = p.localSocket(trust), anonymous(), text(3, p.root.PEM())
			}
			if c.upTLS {
				command, s.upSocket = append(command, "-cert", p.local.cert, "-key", p.local.key), p.toLocal()
			}
			w := startWeft(t, upstream, s)
			suite{
				features: features(allProtocols, allCodecs, true, c.security),
				args:     []string{"--mode", "server", "--max-servers", "1"},
				command:  command,
				env: []string{toChild + "=" + toServer, toSuite + "=" + place(t, w.addr, 1, 2) + fromServer,
					trustFile + "=" + trust, trustAdmin + "=" + w.admin},
				cases: c.cases,
			}.run(t)
			w.atRest()
		})
	}
}

// TestConformanceOfClients has the reference server answer the reference client, with the answers a client must be ready for: broken off,
// without a status, with more than was asked for. Neither connection is in TLS, or both, and then the client has a certificate of the test's.
func TestConformanceOfClients(t *testing.T) {
	p := newPapers(t)
	for _, c := range []struct {
		name     string
		security security
		cases    int
	}{{"cleartext", plain, 2665}, {"mutual TLS to TLS", secure, 2165}} {
		t.Run(c.name, func(t *testing.T) {
			upstream := freeAddr(t)
			args, toClient, s := []string{"--mode", "client", "--port", port(upstream)}, "", setup{upstream: whatever}
			if c.security == secure {
				args = append(args, "--cert", p.local.cert, "--key", p.local.key)
				s.socket, s.upSocket = p.localSocket(p.ca), p.toLocal()
				credentials, err := hex.DecodeString(text(1, read(t, p.user.cert)) + text(2, read(t, p.user.key)))
				if err != nil {
					t.Fatal(err)
				}
				toClient = text(8, p.root.PEM()) + text(9, credentials)
			}
			w := startWeft(t, upstream, s)
			suite{
				features: features(allProtocols, allCodecs, true, c.security),
				knownFailing: []string{ // connect-go says invalid_argument for internal
					"Connect Unexpected Responses/**/server-stream/incomplete-message",
					"Connect Unexpected Responses/**/server-stream/incomplete-message-prefix",
					"gRPC Unexpected Responses/**/server-stream/incomplete-message",
					"gRPC Unexpected Responses/**/server-stream/incomplete-message-prefix",
				},
				args:    args,
				command: []string{peer(t, "referenceclient")},
				env:     []string{toChild + "=" + place(t, w.addr, 6, 7) + toClient},
				cases:   c.cases,
			}.run(t)
			w.atRest()
		})
	}
}

// grpcServers runs a test of grpc-go's server, which has no TLS, for clients without and with TLS. cases is how many have to pass for each;
// the suite has grpc-go's client, too, for those without.
func grpcServers(t *testing.T, protocol string, s setup, toServer, flaky string, cases map[security]int) {
	p := newPapers(t)
	for _, c := range []struct {
		name     string
		security security
	}{{"cleartext", plain}, {"TLS", secure}} {
		t.Run(c.name, func(t *testing.T) {
			upstream := freeAddr(t)
			s, toServer, fromServer := s, toServer, ""
			if c.security == secure {
				s.socket, toServer, fromServer = p.localSocket(""), toServer+cleartext(), text(3, p.root.PEM())
			}
			w := startWeft(t, upstream, s)
			suite{
				features:     features(protocol, "CODEC_PROTO", false, c.security),
				knownFailing: cardinality,
				flaky:        flaky,
				args:         []string{"--mode", "server", "--max-servers", "1"},
				command:      []string{peer(t, "grpcserver"), "-port", port(upstream)},
				env:          []string{toChild + "=" + toServer, toSuite + "=" + place(t, w.addr, 1, 2) + fromServer},
				cases:        cases[c.security],
			}.run(t)
			w.atRest()
		})
	}
}

// TestConformanceOfPlainGRPC has grpc-go's server behind Weft.
func TestConformanceOfPlainGRPC(t *testing.T) {
	grpcServers(t, "PROTOCOL_GRPC", setup{upstream: http2}, "", "", map[security]int{plain: 370, secure: 190})
}

// TestConformanceOfTheGRPCWebFilter has gRPC-Web clients of HTTP/1.1 and HTTP/2 in front of Weft, and behind its filter a server that speaks
// gRPC only.
func TestConformanceOfTheGRPCWebFilter(t *testing.T) {
	grpcServers(t, "PROTOCOL_GRPC_WEB", setup{upstream: http2, filters: grpcWebFilter}, plainGRPC(), lateTimeouts, map[security]int{plain: 319, secure: 319})
}

// lateTimeouts are the 16 cases in which grpc-go's server resets the stream at the deadline: a client of gRPC-Web may notice that before its
// own deadline, which is the same.
const lateTimeouts = "Timeouts/**"

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
