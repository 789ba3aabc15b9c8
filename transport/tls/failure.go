package tls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A failureKind says what is to be counted.
type failureKind uint8

const (
	failureTLS           failureKind = iota
	failureVerify                    // the peer's certificate is not accepted
	failureNoCertificate             // the peer has none, and has to
	failureNotReady                  // a secret has no value yet
	failureGone                      // the peer went away, or the connection was woken: not an error of TLS
)

// A failure is why a handshake did not succeed.
type failure struct {
	kind   failureKind
	text   string       // in Envoy's words; "" where Envoy has none
	verify *verifyError // of failureVerify
}

// errNotReady is why a handshake fails that needs a secret without a value.
var errNotReady = errors.New("TLS error: Secret is not supplied by SDS")

// explain puts the error of a handshake into the words of Envoy, which are those of BoringSSL.
func explain(err error) failure {
	var verify *verifyError
	var chain *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, errNotReady):
		return failure{kind: failureNotReady, text: errNotReady.Error()}
	case errors.As(err, &verify):
		return failure{failureVerify, sslError(125, "CERTIFICATE_VERIFY_FAILED", verify.Error()), verify}
	case errors.As(err, &chain):
		verify = chainError(chain.Err, chain.UnverifiedCertificates)
		return failure{failureVerify, sslError(125, "CERTIFICATE_VERIFY_FAILED", verify.Error()), verify}
	case errors.As(err, &header):
		if looksLikeHTTP(header.RecordHeader[:]) {
			return failure{text: sslError(156, "HTTP_REQUEST", "")}
		}
		return failure{text: sslError(247, "WRONG_VERSION_NUMBER", "")}
	case errors.As(err, &op) && op.Op == "remote error":
		return failure{text: alertError(op.Err)}
	case errors.Is(err, syscall.ECONNRESET):
		return failure{text: "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return failure{kind: failureGone}
	}
	return explainText(err)
}

// reasons are BoringSSL's words for errors that crypto/tls tells by their text only. Immutable.
var reasons = [...]struct {
	text   string
	number int
	reason string
	kind   failureKind
}{
	{"didn't provide a certificate", 199, "PEER_DID_NOT_RETURN_A_CERTIFICATE", failureNoCertificate},
	{"unsupported versions", 240, "UNSUPPORTED_PROTOCOL", failureTLS},
	{"unsupported protocol version", 240, "UNSUPPORTED_PROTOCOL", failureTLS},
	{"no cipher suite supported", 184, "NO_SHARED_CIPHER", failureTLS},
	{"no ECDHE curve", 266, "NO_SHARED_GROUP", failureTLS},
	{"no key exchanges supported", 266, "NO_SHARED_GROUP", failureTLS},
	{"common signature algorithms", 253, "NO_COMMON_SIGNATURE_ALGORITHMS", failureTLS},
	{"message authentication code", 139, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", failureTLS},
	{"unexpected message", 223, "UNEXPECTED_MESSAGE", failureTLS},
}

func explainText(err error) failure {
	text := err.Error()
	for _, r := range reasons {
		if strings.Contains(text, r.text) {
			return failure{kind: r.kind, text: sslError(r.number, r.reason, "")}
		}
	}
	var io *net.OpError
	if errors.As(err, &io) && !strings.Contains(text, "tls: ") {
		return failure{kind: failureGone}
	}
	return failure{text: "TLS_error:" + text + ":TLS_error_end"}
}

// sslError is an entry of BoringSSL's queue of errors as Envoy prints it.
func sslError(reason int, name, more string) string {
	if more != "" {
		more = ":" + more
	}
	const library = 16 << 24 // of BoringSSL's error codes: SSL
	return "TLS_error:|" + strconv.Itoa(library|reason) + ":SSL routines:OPENSSL_internal:" + name + more + ":TLS_error_end"
}

// alerts are BoringSSL's names of the alerts that a peer may send, whose reason is 1000 more. Immutable.
var alerts = [...]struct {
	number uint8
	name   string
}{
	{10, "SSLV3_ALERT_UNEXPECTED_MESSAGE"}, {20, "SSLV3_ALERT_BAD_RECORD_MAC"}, {22, "TLSV1_ALERT_RECORD_OVERFLOW"},
	{40, "SSLV3_ALERT_HANDSHAKE_FAILURE"}, {42, "SSLV3_ALERT_BAD_CERTIFICATE"}, {43, "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"},
	{44, "SSLV3_ALERT_CERTIFICATE_REVOKED"}, {45, "SSLV3_ALERT_CERTIFICATE_EXPIRED"}, {46, "SSLV3_ALERT_CERTIFICATE_UNKNOWN"},
	{47, "SSLV3_ALERT_ILLEGAL_PARAMETER"}, {48, "TLSV1_ALERT_UNKNOWN_CA"}, {49, "TLSV1_ALERT_ACCESS_DENIED"},
	{50, "TLSV1_ALERT_DECODE_ERROR"}, {51, "TLSV1_ALERT_DECRYPT_ERROR"}, {70, "TLSV1_ALERT_PROTOCOL_VERSION"},
	{71, "TLSV1_ALERT_INSUFFICIENT_SECURITY"}, {80, "TLSV1_ALERT_INTERNAL_ERROR"}, {86, "TLSV1_ALERT_INAPPROPRIATE_FALLBACK"},
	{90, "TLSV1_ALERT_USER_CANCELLED"}, {100, "TLSV1_ALERT_NO_RENEGOTIATION"}, {110, "TLSV1_ALERT_UNSUPPORTED_EXTENSION"},
	{112, "TLSV1_ALERT_UNRECOGNIZED_NAME"}, {113, "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE"}, {115, "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY"},
	{116, "TLSV1_ALERT_CERTIFICATE_REQUIRED"}, {120, "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"},
}

// alertError is what Envoy says of an alert that the peer has sent.
func alertError(alert error) string {
	for _, a := range alerts {
		if tls.AlertError(a.number).Error() == alert.Error() {
			return sslError(1000+int(a.number), a.name, "")
		}
	}
	return "TLS_error:" + alert.Error() + ":TLS_error_end"
}

// looksLikeHTTP reports whether what should have been a record is the beginning of an HTTP/1 request, for BoringSSL's list of methods.
func looksLikeHTTP(b []byte) bool {
	for _, method := range [...]string{"GET ", "POST ", "HEAD ", "PUT "} {
		if n := min(len(b), len(method)); n >= 4 && string(b[:n]) == method[:n] {
			return true
		}
	}
	return false
}
