package tls

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"sync/atomic"

	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/transport/secret"
)

// Stats are a transport socket's counters, by Envoy's names in the scope of its listener or cluster.
type Stats struct {
	SSL    Counters        `stat:"ssl."`
	Server ServerContext   `stat:"server_ssl_socket_factory."`
	Client UpstreamContext `stat:"client_ssl_socket_factory."`
}

// A ServerContext counts what becomes of the secrets that a source delivers to a server.
type ServerContext struct {
	Updates  stats.Counter `stat:"ssl_context_update_by_sds" zero:"hide"`
	NotReady stats.Counter `stat:"downstream_context_secrets_not_ready" zero:"hide"` // connections that were closed for want of a secret
}

// An UpstreamContext is the same for a client.
type UpstreamContext struct {
	Updates  stats.Counter `stat:"ssl_context_update_by_sds" zero:"hide"`
	NotReady stats.Counter `stat:"upstream_context_secrets_not_ready" zero:"hide"`
}

// Counters are those of Stats.
type Counters struct {
	ConnectionError      stats.Counter `stat:"connection_error"` // what failed, but for the certificate of the peer
	Handshake            stats.Counter `stat:"handshake"`        // what succeeded
	SessionReused        stats.Counter `stat:"session_reused"`
	NoCertificate        stats.Counter `stat:"no_certificate"` // succeeded, and the peer has shown no certificate
	CertificatePresented stats.Counter `stat:"client_certificate_presented"`
	FailVerifyNoCert     stats.Counter `stat:"fail_verify_no_cert"`
	FailVerifyError      stats.Counter `stat:"fail_verify_error"`
	FailVerifySAN        stats.Counter `stat:"fail_verify_san"`
	FailVerifyCertHash   stats.Counter `stat:"fail_verify_cert_hash"`
	OCSPStapleFailed     stats.Counter `stat:"ocsp_staple_failed"`
	OCSPStapleOmitted    stats.Counter `stat:"ocsp_staple_omitted"`
	OCSPStapleResponses  stats.Counter `stat:"ocsp_staple_responses"`
	OCSPStapleRequests   stats.Counter `stat:"ocsp_staple_requests"`
	WasKeyUsageInvalid   stats.Counter `stat:"was_key_usage_invalid"`
}

// meters are the series of one socket. Safe for concurrent use.
type meters struct {
	scope  *stats.Scope
	group  *stats.Group[Stats]
	client bool

	// By what was agreed on; made when first counted.
	suites   [len(suites13) + len(suites)]atomic.Pointer[stats.Counter]
	curves   [len(curves)]atomic.Pointer[stats.Counter]
	versions [len(versions)]atomic.Pointer[stats.Counter]
}

func newMeters(scope *stats.Scope, client bool) *meters {
	return &meters{scope: scope, group: stats.NewGroup[Stats](scope), client: client}
}

// lane is the counters that a connection adds to.
func (m *meters) lane(i uint32) *Counters { return &m.group.Lane(i).SSL }

// succeeded counts a finished handshake.
func (m *meters) succeeded(lane uint32, cs *tls.ConnectionState) {
	st := m.lane(lane)
	st.Handshake.Inc()
	if cs.DidResume {
		st.SessionReused.Inc()
	}
	if len(cs.PeerCertificates) == 0 {
		st.NoCertificate.Inc()
	} else if !m.client {
		st.CertificatePresented.Inc()
	}
	tag := "envoy.ssl_cipher"
	if m.client {
		tag = "cipher_suite"
	}
	if i := suiteIndex(cs.CipherSuite); i >= 0 {
		m.inc(&m.suites[i], "ssl.ciphers.", suiteName(cs.CipherSuite), tag)
	}
	if i := curveIndex(cs.CurveID); i >= 0 {
		m.inc(&m.curves[i], "ssl.curves.", curves[i].name, "envoy.ssl_curve")
	}
	if i := versionIndex(cs.Version); i >= 0 {
		m.inc(&m.versions[i], "ssl.versions.", versions[i].name, "envoy.ssl_version")
	}
}

// inc adds one to a counter that is made if there was none.
func (m *meters) inc(at *atomic.Pointer[stats.Counter], prefix, value, tag string) {
	c := at.Load()
	if c == nil {
		c = m.scope.Counter(prefix+value, stats.Tag{Name: tag, Value: value})
		at.Store(c)
	}
	c.Inc()
}

// failed counts a handshake that has failed with err and returns why, as DOWNSTREAM_TRANSPORT_FAILURE_REASON says it.
func (m *meters) failed(lane uint32, err error) string {
	st := m.lane(lane)
	f := explain(err)
	switch f.kind {
	case failureVerify:
		switch f.verify.kind {
		case failedSAN:
			st.FailVerifySAN.Inc()
		case failedHash:
			st.FailVerifyCertHash.Inc()
		default:
			st.FailVerifyError.Inc()
		}
	case failureNoCertificate:
		st.FailVerifyNoCert.Inc()
	case failureNotReady:
		if m.client {
			m.group.Lane(lane).Client.NotReady.Inc()
		} else {
			m.group.Lane(lane).Server.NotReady.Inc()
		}
	case failureTLS:
		st.ConnectionError.Inc()
	case failureGone:
	}
	return f.text
}

// updated counts another version of a secret that a source has delivered.
func (m *meters) updated() {
	if m.client {
		m.group.Lane(0).Client.Updates.Inc()
	} else {
		m.group.Lane(0).Server.Updates.Inc()
	}
}

// expirations sets the gauges that say when certificates expire. Those without a name of their own are told apart by where they are from;
// of several with the same the first to expire counts.
func (m *meters) expirations(slots []*secret.Slot[secret.KeyPair]) {
	ends := map[string]int64{}
	for _, s := range slots {
		pair := s.Load()
		if pair == nil || pair.Certificate.Leaf == nil {
			continue
		}
		name := s.Name()
		if name == "" {
			from := pair.Source
			if from == "<inline>" {
				from = ""
			}
			sum := sha256.Sum256([]byte(from))
			name = "unnamed_cert_" + hex.EncodeToString(sum[:4])
		}
		end := pair.Certificate.Leaf.NotAfter.Unix()
		if known, there := ends[name]; !there || end < known {
			ends[name] = end
		}
	}
	for name, end := range ends {
		tag := stats.Tag{Name: "envoy.tls_certificate", Value: name}
		m.scope.Gauge("ssl.certificate."+name+".expiration_unix_time_seconds", tag).Set(end)
	}
}
