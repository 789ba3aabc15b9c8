//go:build interop

package interop

import (
	"bytes"
	encoding "encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// buildTime is how long fetching and building the peers may take where nothing of them is cached.
const buildTime = 10 * time.Minute

// peers are the programs that come from Go modules; test/interop/peers pins their versions. Built once.
var peers struct {
	sync.Once
	dir     string
	missing error // they cannot be fetched
	err     error
}

// peer returns the path of a program that comes from a Go module.
func peer(t *testing.T, pkg string) string {
	t.Helper()
	peers.Do(func() { buildPeers(t) })
	if peers.missing != nil {
		missing(t, peers.missing.Error())
	}
	if peers.err != nil {
		t.Fatal(peers.err)
	}
	return filepath.Join(peers.dir, path.Base(pkg))
}

// buildPeers builds the peers into the user's cache, where go build finds most of them done the next time.
func buildPeers(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		peers.err = err
		return
	}
	peers.dir = filepath.Join(cache, "weft-interop")
	if peers.err = os.MkdirAll(peers.dir, 0o755); peers.err != nil {
		return
	}
	if _, err := run(t, buildTime, "go", "-C", "peers", "mod", "download"); err != nil {
		peers.missing = err
		return
	}
	_, peers.err = run(t, buildTime, "go", "-C", "peers", "build", "-mod=readonly", "-o", peers.dir+string(filepath.Separator), "tool")
}

// The test program is also a shim between the conformance suite and its clients and servers. They talk in messages with a length before
// them; the shim appends fields to each, and the last value of a field counts, so that each side finds Weft where the other was.
const (
	shimArg = "shim"
	toChild = "WEFT_INTEROP_TO_CHILD" // hex of the fields for what goes in
	toSuite = "WEFT_INTEROP_TO_SUITE" // and for what comes out

	trustFile  = "WEFT_INTEROP_TRUST"       // file that Weft trusts; it gets the certificate that a ServerCompatRequest has for clients
	trustAdmin = "WEFT_INTEROP_TRUST_ADMIN" // address of Weft's admin page
)

// shim runs a command with fields appended to its input and output, until it ends.
func shim(command []string) int {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return shimFails(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return shimFails(err)
	}
	if err := cmd.Start(); err != nil {
		return shimFails(err)
	}
	var stopped atomic.Bool
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { // ends with the process
		<-stop
		stopped.Store(true)
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
	}()
	go func() { // ends with the input or the process
		if err := patch(in, os.Stdin, os.Getenv(toChild), trustClients); err != nil {
			shimFails(err)
		}
		_ = in.Close() // the command has what there is
	}()
	if err := errors.Join(patch(os.Stdout, out, os.Getenv(toSuite), nil), cmd.Wait()); err != nil && !stopped.Load() {
		return shimFails(err)
	}
	return 0
}

// shimFails tells why and returns the exit code.
func shimFails(err error) int {
	fmt.Fprintln(os.Stderr, "shim:", err)
	return 1
}

// patch copies messages and appends fields to each, after look has seen it.
func patch(dst io.Writer, src io.Reader, fields string, look func(message []byte) error) error {
	extra, err := hex.DecodeString(fields)
	if err != nil {
		return err
	}
	var length [4]byte
	for {
		if _, err := io.ReadFull(src, length[:]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		var message bytes.Buffer
		n := encoding.BigEndian.Uint32(length[:])
		message.Write(encoding.BigEndian.AppendUint32(nil, n+uint32(len(extra))))
		if _, err := io.CopyN(&message, src, int64(n)); err != nil {
			return err
		}
		if look != nil {
			if err := look(message.Bytes()[len(length):]); err != nil {
				return err
			}
		}
		message.Write(extra)
		if _, err := dst.Write(message.Bytes()); err != nil {
			return err
		}
	}
}

// trustClients has Weft trust the certificate of the suite's clients, which a ServerCompatRequest names, if the test wants that.
func trustClients(request []byte) error {
	file := os.Getenv(trustFile)
	if file == "" {
		return nil
	}
	cert, err := bytesField(request, 5) // client_tls_cert
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(file); err != nil || bytes.Equal(old, cert) {
		return err
	}
	if err := os.WriteFile(file+".new", cert, 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		resp, err := http.Get("http://" + os.Getenv(trustAdmin) + "/stats?filter=secret.reload_success")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it has been read
		if err != nil || strings.Contains(string(text), "reload_success: 1") {
			return err
		}
	}
	return errors.New("the certificates of clients are not read again")
}

// bytesField is the last value of a field of bytes.
func bytesField(message []byte, field protowire.Number) (value []byte, err error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return nil, protowire.ParseError(n)
		}
		if number == field && kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[:n]) // it has been checked
		}
		message = message[n:]
	}
	return value, nil
}
