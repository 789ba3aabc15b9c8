package upstream

import (
	"math"
	"math/bits"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/upstream/balance"
)

// A drop is the part of a cluster's requests that its control plane wants to be refused (drop_overloads). Immutable.
type drop struct {
	category string
	share    uint64 // of 2^64 requests
	all      bool
}

// compileDrop compiles the drop_overloads, of which Envoy takes one, of the policy of an assignment.
func compileDrop(all []*endpointv3.ClusterLoadAssignment_Policy_DropOverload, at resource.Path, p *resource.Problems) *drop {
	switch len(all) {
	case 0:
		return nil
	case 1:
	default:
		p.Unsupported(at.Field("policy").Field("drop_overloads"), "one category is supported")
		return nil
	}
	m := all[0]
	of := uint64(100)
	switch m.GetDropPercentage().GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		of = 10_000
	case typev3.FractionalPercent_MILLION:
		of = 1_000_000
	}
	n := uint64(m.GetDropPercentage().GetNumerator())
	switch {
	case n == 0:
		return nil
	case n >= of:
		return &drop{category: m.GetCategory(), share: math.MaxUint64, all: true}
	}
	share, _ := bits.Div64(n, 0, of)
	return &drop{category: m.GetCategory(), share: share}
}

// Drops decides whether a request is refused because the control plane sheds load (drop_overloads), and counts it then. all says that every
// request is.
func (c *Cluster) Drops(h *balance.Hints) (dropped, all bool) {
	d := c.dropping.Load()
	if d == nil || !d.all && h.Draw() >= d.share {
		return false, false
	}
	c.shed.Add(1)
	return true, d.all
}
