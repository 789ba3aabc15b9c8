package dispatch

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/internal/xfcc"
	"github.com/weftproxy/weft/message"
)

// clientCert is what becomes of x-forwarded-client-cert: forward_client_cert_details and set_current_client_cert_details.
type clientCert struct {
	mode                            hcmv3.HttpConnectionManager_ForwardClientCertDetails
	cert, chain, subject, uris, dns bool
}

func compileClientCert(m *hcmv3.HttpConnectionManager) clientCert {
	s := m.GetSetCurrentClientCertDetails()
	return clientCert{m.GetForwardClientCertDetails(), s.GetCert(), s.GetChain(), s.GetSubject().GetValue(), s.GetUri(), s.GetDns()}
}

// apply makes the header say what the mode asks for. A client that has shown no certificate is believed nothing, but for
// ALWAYS_FORWARD_ONLY.
func (c *clientCert) apply(h *message.Header, t *conn.TLS) {
	const k = message.XForwardedClientCert
	switch {
	case c.mode == hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		return
	case c.mode == hcmv3.HttpConnectionManager_SANITIZE || t == nil || t.Peer == nil:
		h.DelKnown(k)
		return
	case c.mode == hcmv3.HttpConnectionManager_FORWARD_ONLY:
		return
	}
	text := h.Spare()
	if c.mode == hcmv3.HttpConnectionManager_APPEND_FORWARD {
		old, _ := h.Joined(headerXFCC, ",")
		text = h.Spare() // several fields were joined in the arena
		if old != "" && xfcc.Closed(old) {
			text = append(append(text, old...), ',')
		}
	}
	e := c.element(t)
	text = e.Append(text)
	h.DelKnown(k)
	value := h.Block(text)
	name := h.Block([]byte(headerXFCC))
	h.AddKnownAt(k, name, len(headerXFCC), value, len(text))
}

const headerXFCC = "x-forwarded-client-cert"

// element is what Weft says of the client.
func (c *clientCert) element(t *conn.TLS) xfcc.Element {
	peer := t.Peer.Facts()
	e := xfcc.Element{By: t.Local.Facts().URISANs, Hash: peer.Fingerprint256, HasSubject: c.subject, HasURI: c.uris}
	if c.cert {
		e.Cert = peer.PEM
	}
	if c.chain {
		e.Chain = t.ChainPEM()
	}
	if c.subject {
		e.Subject = peer.Subject
	}
	if c.uris {
		e.URI = peer.URISANs
	}
	if c.dns {
		e.DNS = peer.DNSSANs
	}
	return e
}
