// Command certificates makes the certificates of the examples anew, in the directory it is run in: go run . from where it lies.
//
// They are for trying things out on one's own machine and nothing else: their private keys are public. The authority's key is
// not kept, so nobody can add to them.
package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/weftproxy/weft/test/certs"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes ca.crt, the authority that everything here trusts, and what it has issued.
func run(dir string) error {
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	until := time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC)
	authority, err := certs.NewAuthorityFor(certs.Request{Name: "Weft examples", NotBefore: from, NotAfter: until})
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/ca.crt", authority.PEM(), 0o644); err != nil {
		return err
	}
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, r := range map[string]certs.Request{
		"localhost": {Name: "localhost", DNS: []string{"localhost"}, Usages: server},
		"one":       {Name: "one.localhost", DNS: []string{"one.localhost"}, Usages: server},
		"two":       {Name: "two.localhost", DNS: []string{"two.localhost"}, Usages: server},
		"client":    {Name: "client", URIs: []string{"spiffe://weft.example/client"}, Usages: client},
		"stranger":  {Name: "stranger", URIs: []string{"spiffe://weft.example/stranger"}, Usages: client},
	} {
		r.NotBefore, r.NotAfter = from, until
		pair, err := authority.Issue(r)
		if err != nil {
			return err
		}
		if _, _, err := pair.Write(dir, name); err != nil {
			return err
		}
	}
	return nil
}
