package match

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func cidr(addr string, bits uint32) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: addr, PrefixLen: wrapperspb.UInt32(bits)}
}

func TestCIDRsContain(t *testing.T) {
	set, err := NewCIDRs([]*corev3.CidrRange{cidr("10.1.2.3", 8), cidr("10.9.0.0", 16), cidr("192.168.1.1", 32), cidr("fd00::", 8), cidr("::ffff:1.2.3.4", 120)})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 4 {
		t.Errorf("%d ranges, want 4: 10.9/16 is in 10/8", set.Len())
	}
	for addr, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false, "9.255.255.255": false, "192.168.1.1": true, "192.168.1.2": false,
		"fd12::1": true, "fe00::": false, "fc00::": false, "::ffff:10.1.1.1": true, "1.2.3.200": true, "1.2.4.0": false, "fd00::1%eth0": true,
	} {
		if got := set.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	var empty *CIDRs
	if empty.Contains(netip.MustParseAddr("1.2.3.4")) || set.Contains(netip.Addr{}) {
		t.Error("an empty set, or a set asked for no address, contains it")
	}
	all, _ := NewCIDRs([]*corev3.CidrRange{{AddressPrefix: "0.0.0.0"}})
	if !all.Contains(netip.MustParseAddr("255.255.255.255")) || all.Contains(netip.MustParseAddr("::1")) {
		t.Error("0.0.0.0/0 is not all of IPv4 and nothing else")
	}
}

func TestCIDRsAgreeWithPrefixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var ranges []*corev3.CidrRange
	var prefixes []netip.Prefix
	for range 500 {
		a := netip.AddrFrom4([4]byte{byte(rnd.IntN(4)), byte(rnd.IntN(256)), byte(rnd.IntN(256)), 0})
		bits := 10 + rnd.IntN(23)
		ranges = append(ranges, cidr(a.String(), uint32(bits)))
		prefixes = append(prefixes, netip.PrefixFrom(a, bits))
	}
	set, err := NewCIDRs(ranges)
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		a := netip.AddrFrom4([4]byte{byte(rnd.IntN(5)), byte(rnd.IntN(256)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
		want := false
		for _, p := range prefixes {
			want = want || p.Contains(a)
		}
		if set.Contains(a) != want {
			t.Fatalf("%s: %v, want %v", a, !want, want)
		}
	}
	a := netip.MustParseAddr("1.2.3.4")
	if n := testing.AllocsPerRun(100, func() { set.Contains(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCIDRsRefuseNonsense(t *testing.T) {
	for _, r := range []*corev3.CidrRange{cidr("x", 8), cidr("1.2.3.4", 33), cidr("::", 129), cidr("", 0), cidr("fe80::1%eth0", 64)} {
		if _, err := NewCIDRs([]*corev3.CidrRange{r}); err == nil {
			t.Errorf("%v: accepted", r)
		}
	}
}
