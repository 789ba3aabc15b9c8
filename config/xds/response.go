package xds

import (
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftproxy/weft/resource"
)

const wrapperURL = urlPrefix + "envoy.service.discovery.v3.Resource"

// A response is what a source has sent about one type, whatever the protocol.
type response struct {
	typeURL string
	version string // of the response; resources may have their own
	nonce   string
	control string // the control plane's identifier; may be empty
	items   []item
	removed []string // delta only
	delta   bool     // what is not named stays
	cached  bool     // it is what was kept of an earlier run
}

// An item is one resource of a response, not decoded.
type item struct {
	name    string // as the response names it; "": by its message alone
	aliases []string
	version string
	body    *anypb.Any    // nil: a heartbeat, which keeps what there is
	ttl     time.Duration // 0: it does not expire
	err     error         // it cannot even be unwrapped

	problems []resource.Problem // what its format has already shown to be wrong with it
}

// fromSotW returns the response that a DiscoveryResponse is.
func fromSotW(m *discoveryv3.DiscoveryResponse) *response {
	r := &response{
		typeURL: m.GetTypeUrl(), version: m.GetVersionInfo(), nonce: m.GetNonce(), control: m.GetControlPlane().GetIdentifier(),
		items: make([]item, 0, len(m.GetResources())),
	}
	for _, a := range m.GetResources() {
		if a.GetTypeUrl() != wrapperURL {
			r.items = append(r.items, item{version: r.version, body: a})
			continue
		}
		var w discoveryv3.Resource
		if err := proto.Unmarshal(a.GetValue(), &w); err != nil {
			r.items = append(r.items, item{name: w.GetName(), err: err})
			continue
		}
		it := unwrap(&w)
		it.version = r.version
		r.items = append(r.items, it)
	}
	return r
}

// fromDelta returns the response that a DeltaDiscoveryResponse is.
func fromDelta(m *discoveryv3.DeltaDiscoveryResponse) *response {
	r := &response{
		typeURL: m.GetTypeUrl(), version: m.GetSystemVersionInfo(), nonce: m.GetNonce(), control: m.GetControlPlane().GetIdentifier(),
		items: make([]item, 0, len(m.GetResources())), removed: m.GetRemovedResources(), delta: true,
	}
	for _, w := range m.GetRemovedResourceNames() {
		r.removed = append(r.removed, w.GetName())
	}
	for _, w := range m.GetResources() {
		r.items = append(r.items, unwrap(w))
	}
	return r
}

// unwrap returns the item that a wrapper holds.
func unwrap(w *discoveryv3.Resource) item {
	it := item{name: w.GetName(), aliases: w.GetAliases(), version: w.GetVersion(), body: w.GetResource()}
	if it.name == "" {
		it.name = w.GetResourceName().GetName()
	}
	if w.GetTtl() != nil {
		it.ttl = max(w.GetTtl().AsDuration(), time.Millisecond)
	}
	return it
}
