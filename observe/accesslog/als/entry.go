package als

import (
	"math/bits"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/observe"
)

// The numbers of fields below are those of envoy.data.accesslog.v3.

// appendCommon appends an AccessLogCommon.
func appendCommon(b []byte, field protowire.Number, e *observe.Entry, tags []tag) []byte {
	b, at := begin(b, field)
	r := e.Record
	b = appendAddresses(b, e)
	b = appendTLS(b, e.Conn)
	b = appendTimes(b, r)
	if r.UpstreamHost.IsValid() || r.UpstreamPath != "" {
		b = appendAddress(b, 13, r.UpstreamHost, r.UpstreamPath)
		b = appendText(b, 15, r.Cluster)
	}
	if r.UpstreamLocal.IsValid() {
		b = appendAddress(b, 14, r.UpstreamLocal, "")
	}
	b = appendFlags(b, 16, r.Flags)
	b = appendMetadata(b, 17, e)
	b = appendText(b, 18, r.UpstreamFailure)
	b = appendText(b, 19, r.Route)
	for i := range tags {
		b = tags[i].append(b, 22, e)
	}
	b = appendUint(b, 24, uint64(r.Attempts))
	b = appendText(b, 25, r.Terminate)
	b = appendText(b, 26, r.RequestID) // stream_id
	b = appendBool(b, 27, r.Done == 0) // intermediate_log_entry
	b = appendText(b, 28, r.DownstreamFailure)
	b = appendUint(b, 29, r.WireOut)
	b = appendUint(b, 30, r.WireIn)
	b = appendUint(b, 31, r.UpstreamWireOut)
	b = appendUint(b, 32, r.UpstreamWireIn)
	b = appendUint(b, 33, uint64(e.Type))
	return end(b, at)
}

// appendAddresses appends the addresses of the downstream connection.
func appendAddresses(b []byte, e *observe.Entry) []byte {
	c := e.Conn
	if e.Record.Remote.IsValid() {
		b = appendAddress(b, 2, e.Record.Remote, "")
	} else if c != nil && c.Remote.IsValid() {
		b = appendAddress(b, 2, c.Remote, "")
	}
	if c == nil {
		return b
	}
	if c.Local.IsValid() || c.LocalPath != "" {
		b = appendAddress(b, 3, c.Local, c.LocalPath)
	}
	if c.DirectRemote.IsValid() {
		b = appendAddress(b, 20, c.DirectRemote, "")
	}
	return b
}

// appendAddress appends an envoy.config.core.v3.Address: a socket's, or the path of a unix socket where that is not valid.
func appendAddress(b []byte, field protowire.Number, ap netip.AddrPort, path string) []byte {
	b, at := begin(b, field)
	var inner int
	if !ap.IsValid() {
		b, inner = begin(b, 2) // pipe
		b = appendText(b, 1, path)
		return end(end(b, inner), at)
	}
	b, inner = begin(b, 1) // socket_address
	var text int
	b, text = begin(b, 2)
	b = end(ap.Addr().AppendTo(b), text)
	// A port is there, also if it is 0: it is one of a choice.
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(ap.Port()))
	return end(end(b, inner), at)
}

// appendTLS appends TLSProperties: what the client asked for, and what a handshake with it established.
func appendTLS(b []byte, c *conn.Info) []byte {
	if c == nil || c.ServerName == "" && c.JA3 == "" && c.TLS == nil {
		return b
	}
	b, at := begin(b, 4)
	if t := c.TLS; t != nil {
		b = appendUint(b, 1, tlsVersion(t.Version))
		b = appendWrapped(b, 2, uint64(t.Suite))
		b = appendCertificate(b, 4, t.Local)
		b = appendCertificate(b, 5, t.Peer)
		b = appendText(b, 6, t.SessionID)
	}
	b = appendText(b, 3, c.ServerName)
	b = appendText(b, 7, c.JA3)
	return end(b, at)
}

// tlsVersion is the number of a TLSVersion.
func tlsVersion(name string) uint64 {
	switch name {
	case "TLSv1":
		return 1
	case "TLSv1.1":
		return 2
	case "TLSv1.2":
		return 3
	case "TLSv1.3":
		return 4
	}
	return 0
}

// appendCertificate appends CertificateProperties, empty ones where there is no certificate.
func appendCertificate(b []byte, field protowire.Number, c *conn.Certificate) []byte {
	b, at := begin(b, field)
	f := c.Facts()
	for which, names := range [...][]string{f.URISANs, f.DNSSANs} { // uri is 1, dns is 2
		for _, name := range names {
			var san int
			b, san = begin(b, 1)
			b = end(appendText(b, protowire.Number(1+which), name), san)
		}
	}
	b = appendText(b, 2, f.Subject)
	b = appendText(b, 3, f.Issuer)
	return end(b, at)
}

// appendTimes appends when things happened, counted from the first byte received.
func appendTimes(b []byte, r *observe.Record) []byte {
	if !r.Began.IsZero() {
		b = appendTime(b, 5, r.Began)
	}
	if r.Start == 0 {
		return b
	}
	for i, at := range [...]int64{r.RequestDone, r.UpstreamBegan, r.UpstreamSent, r.UpstreamFirst, r.UpstreamDone, r.FirstSent, r.Done} {
		if at >= r.Start { // not 0
			b = appendSpan(b, protowire.Number(6+i), time.Duration(at-r.Start))
		}
	}
	if r.Done >= r.Start {
		b = appendSpan(b, 23, time.Duration(r.Done-r.Start))
	}
	return b
}

// unauthorized is the field of observe.UAEX, which holds a message.
const unauthorized = 13

// appendFlags appends ResponseFlags: their fields have the order of observe's flags.
func appendFlags(b []byte, field protowire.Number, flags observe.Flag) []byte {
	if flags == 0 {
		return b
	}
	b, at := begin(b, field)
	for left := uint64(flags); left != 0; left &= left - 1 {
		switch flag := observe.Flag(left & -left); {
		case flag == observe.UAEX:
			var details int
			b, details = begin(b, unauthorized)
			b = end(appendUint(b, 1, 1), details) // EXTERNAL_SERVICE
		case flag <= observe.DF:
			b = appendBool(b, protowire.Number(1+bits.TrailingZeros64(uint64(flag))), true)
		case flag == observe.DR:
			b = appendBool(b, 28, true)
		}
	}
	return end(b, at)
}
