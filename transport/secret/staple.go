package secret

import (
	"time"

	"golang.org/x/crypto/ocsp"
)

// staple reads the OCSP response of ocsp_staple, if there is one. As in Envoy it has to be for this certificate and no other; it is told by
// the serial number, the response being trusted to be what it says.
func (k *KeyPair) staple(in *inputs) error {
	der := in.data[partStaple]
	if len(der) == 0 {
		if in.parts[partStaple].src != nil {
			in.warn("ocsp_staple", "the OCSP response is empty: nothing is stapled")
		}
		return nil
	}
	const field, hint = "ocsp_staple", "get a new one with: openssl ocsp -respout"
	r, err := ocsp.ParseResponse(der, nil)
	if err != nil {
		return faultf(field, hint, "OCSP response was unsuccessful: %v", err)
	}
	if r.SerialNumber == nil || r.SerialNumber.Cmp(k.Certificate.Leaf.SerialNumber) != 0 {
		return faultf(field, hint, "OCSP response does not match its TLS certificate")
	}
	switch r.Status {
	case ocsp.Revoked:
		in.warn(field, "the OCSP response says that the certificate is revoked")
	case ocsp.Unknown:
		in.warn(field, "the OCSP response says that the certificate is unknown")
	}
	if r.ThisUpdate.After(time.Now()) {
		in.warn(field, "OCSP Response thisUpdate field is set in the future: %s", r.ThisUpdate.Format(time.RFC3339))
	}
	if r.NextUpdate.IsZero() {
		in.warn(field, "the OCSP response does not say when it ends, which counts as expired")
	}
	k.Staple, k.StapleBegins, k.StapleEnds = der, r.ThisUpdate, r.NextUpdate
	return nil
}
