package server

import (
	"crypto/x509"
	"math"
	"math/big"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftproxy/weft/transport/secret"
)

const day = 24 * time.Hour

// certs is the certificates in use, for /certs: an entry for each secret, with the first authority of a validation context as in Envoy.
func (p *process) certs() *adminv3.Certificates {
	out, now := &adminv3.Certificates{}, time.Now()
	for _, s := range p.secrets.Shown() {
		c := &adminv3.Certificate{}
		switch {
		case s.KeyPair != nil:
			c.CertChain = []*adminv3.CertificateDetails{details(s.KeyPair.Certificate.Leaf, s.KeyPair.Source, now)}
			if s.KeyPair.Staple != nil {
				c.CertChain[0].OcspDetails = stapleDetails(s.KeyPair)
			}
		case len(s.Validation.Roots) > 0:
			c.CaCert = []*adminv3.CertificateDetails{details(s.Validation.Roots[0], s.Validation.Source, now)}
		default:
			continue
		}
		out.Certificates = append(out.Certificates, c)
	}
	return out
}

func details(c *x509.Certificate, path string, now time.Time) *adminv3.CertificateDetails {
	d := &adminv3.CertificateDetails{
		Path: path, SerialNumber: serial(c.SerialNumber), DaysUntilExpiration: daysLeft(c, now),
		ValidFrom: timestamppb.New(c.NotBefore), ExpirationTime: timestamppb.New(c.NotAfter),
	}
	for _, name := range c.DNSNames {
		d.SubjectAltNames = append(d.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: name}})
	}
	for _, uri := range c.URIs {
		d.SubjectAltNames = append(d.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: uri.String()}})
	}
	for _, ip := range c.IPAddresses {
		d.SubjectAltNames = append(d.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_IpAddress{IpAddress: ip.String()}})
	}
	return d
}

func stapleDetails(k *secret.KeyPair) *adminv3.CertificateDetails_OcspDetails {
	d := &adminv3.CertificateDetails_OcspDetails{ValidFrom: timestamppb.New(k.StapleBegins)}
	if !k.StapleEnds.IsZero() {
		d.Expiration = timestamppb.New(k.StapleEnds)
	}
	return d
}

// serial is a serial number in whole bytes of lower case hex.
func serial(n *big.Int) string {
	text := n.Text(16)
	if len(text)%2 == 1 {
		text = "0" + text
	}
	return text
}

// daysLeft is the whole days until a certificate expires, 0 when it has.
func daysLeft(c *x509.Certificate, now time.Time) uint64 {
	return uint64(max(0, c.NotAfter.Sub(now)) / day)
}

// firstExpiry is the days until the first certificate in use expires; without certificates what Envoy says then.
func (p *process) firstExpiry() int64 {
	first, any := p.secrets.FirstExpiry()
	if !any {
		return math.MaxUint32
	}
	return int64(max(0, time.Until(first)) / day)
}
