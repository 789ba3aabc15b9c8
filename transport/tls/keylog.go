package tls

import (
	"log/slog"
	"os"
	"sync"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/resource"
)

// A keyLog appends the secrets of some connections to a file, in the format of NSS. The file is opened when the first is logged.
type keyLog struct {
	path          string
	local, remote *match.CIDRs // nil: all addresses
	log           *slog.Logger

	mu     sync.Mutex
	file   *os.File // guarded by mu
	failed bool     // it was said that the file cannot be written; guarded by mu
}

// compileKeyLog reads a TlsKeyLog; nil of none.
func compileKeyLog(m *tlsv3.TlsKeyLog, log *slog.Logger, at resource.Path, p *resource.Problems) *keyLog {
	if m == nil {
		return nil
	}
	k := &keyLog{path: m.GetPath(), log: log}
	var err error
	if len(m.GetLocalAddressRange()) > 0 {
		if k.local, err = match.NewCIDRs(m.GetLocalAddressRange()); err != nil {
			p.Errorf(at.Field("local_address_range"), "", "%v", err)
		}
	}
	if len(m.GetRemoteAddressRange()) > 0 {
		if k.remote, err = match.NewCIDRs(m.GetRemoteAddressRange()); err != nil {
			p.Errorf(at.Field("remote_address_range"), "", "%v", err)
		}
	}
	return k
}

// wants reports whether a connection's secrets are to be logged. The nil keyLog wants none.
func (k *keyLog) wants(i *conn.Info) bool {
	return k != nil && (k.local == nil || k.local.Contains(i.Local.Addr())) && (k.remote == nil || k.remote.Contains(i.Remote.Addr()))
}

// Write implements io.Writer for crypto/tls. What cannot be written is lost: it fails no handshake.
func (k *keyLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	if k.file == nil {
		k.file, err = os.OpenFile(k.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	if err == nil {
		_, err = k.file.Write(line)
	}
	if err != nil && !k.failed {
		k.failed = true
		k.log.Error("TLS keys cannot be logged", "path", k.path, "error", err)
	}
	return len(line), nil
}
