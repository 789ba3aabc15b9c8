//go:build interop

package interop

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// grpcCases are the cases of grpc-go's interop client that need no credentials and that its own server passes: it does not name itself, as
// pick_first_unary wants, nor has it the load reports of orca_per_rpc and orca_oob.
var grpcCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
	"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak",
}

// TestGRPCInterop has the interop client of grpc-go talk to its server, directly and through Weft. The server listens on all addresses of the
// machine, so it gets a network of its own where that is allowed.
func TestGRPCInterop(t *testing.T) {
	client, server := peer(t, "client"), peer(t, "server")
	if os.Getenv(inNetwork) == "" && ownNetwork(t, 1+len(grpcCases)) {
		return
	}
	upstream := freeAddr(t)
	start(t, server, "-port", port(upstream)).ready(upstream)
	w := startWeft(t, upstream, setup{upstream: http2})
	for _, c := range grpcCases {
		t.Run(c, func(t *testing.T) {
			if err := grpcCase(t, client, upstream, c); err != nil {
				t.Fatalf("without Weft: %v", err)
			}
			if err := grpcCase(t, client, w.addr, c); err != nil {
				t.Error(err)
			}
		})
	}
	w.atRest()
}

// TestGRPCInteropOverTLS is TestGRPCInterop with clients that speak TLS and servers that do, too, or do not.
func TestGRPCInteropOverTLS(t *testing.T) {
	client, server := peer(t, "client"), peer(t, "server")
	if os.Getenv(inNetwork) == "" && ownNetwork(t, 1+3*len(grpcCases)) {
		return
	}
	p := newPapers(t)
	secured := []string{"-use_tls", "-use_test_ca", "-ca_file", p.ca}
	open, closed := freeAddr(t), freeAddr(t)
	start(t, server, "-port", port(open)).ready(open)
	start(t, server, "-port", port(closed), "-use_tls", "-tls_cert_file", p.local.cert, "-tls_key_file", p.local.key).ready(closed)
	ways := []*weft{
		startWeft(t, open, setup{upstream: http2, socket: p.localSocket("")}),
		startWeft(t, closed, setup{upstream: http2, socket: p.localSocket(""), upSocket: p.toLocal()}),
		startWeft(t, closed, setup{upstream: http2, upSocket: p.toLocal()}),
	}
	for i, name := range []string{"TLS to cleartext", "TLS to TLS", "cleartext to TLS"} {
		args := secured
		if i == 2 {
			args = nil
		}
		for _, c := range grpcCases {
			t.Run(name+"/"+c, func(t *testing.T) {
				if i == 0 { // once is enough
					if err := grpcCase(t, client, closed, c, secured...); err != nil {
						t.Fatalf("without Weft: %v", err)
					}
				}
				if err := grpcCase(t, client, ways[i].addr, c, args...); err != nil {
					t.Error(err)
				}
			})
		}
		ways[i].atRest()
	}
}

// grpcCase runs one case of the interop client, with more arguments.
func grpcCase(t *testing.T, client, addr, name string, args ...string) error {
	t.Helper()
	_, err := run(t, patience, client, append([]string{"-server_host", "127.0.0.1", "-server_port", port(addr), "-test_case", name}, args...)...)
	return err
}

// inNetwork says that a test runs in a network of its own.
const inNetwork = "WEFT_INTEROP_NETWORK"

// ownNetwork runs the test, of so many tests, again where there is a loopback interface and nothing else. It returns false where the system does not allow that
// and the test has to run, and skips the test where it need not.
func ownNetwork(t *testing.T, tests int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := func(run string) (string, error) {
		cmd := exec.Command(self, "-test.run", run, "-test.v", "-test.timeout", "5m")
		cmd.Env = append(os.Environ(), inNetwork+"=1", binaryVariable+"="+binary)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := command("^$"); err != nil {
		t.Logf("%v\n%s", err, out)
		if os.Getenv("CI") != "true" && os.Getenv("WEFT_INTEROP") != "require" {
			t.Skip("no network of its own to be had for a server that listens on all addresses")
		}
		return false
	}
	out, err := command("^" + t.Name() + "$")
	if err != nil {
		t.Errorf("%v", err)
	}
	if n := strings.Count(out, "--- PASS: "); err == nil && n != tests {
		t.Errorf("%d passed, want %d", n, tests)
	}
	t.Log(tail(out))
	return true
}

// loopbackUp makes 127.0.0.1 an address of a new network.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
