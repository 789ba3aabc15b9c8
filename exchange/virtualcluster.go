package exchange

import (
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
)

// VirtualClusters are a virtual host's classes of requests, for statistics.
type VirtualClusters struct{ List []VirtualCluster }

// A VirtualCluster is a class of requests: those that match all its headers.
type VirtualCluster struct {
	Name    string
	Headers []*match.Header
}

// Other is the name of the class of requests that no virtual cluster of the virtual host is for.
const Other = "other"

// Find returns the name of the first class that a request belongs to, Other when it belongs to none, and "" where there are no
// classes. A nil VirtualClusters has none.
func (v *VirtualClusters) Find(r *message.Request) string {
	if v == nil || len(v.List) == 0 {
		return ""
	}
	for i := range v.List {
		if all(v.List[i].Headers, r) {
			return v.List[i].Name
		}
	}
	return Other
}

func all(headers []*match.Header, r *message.Request) bool {
	for _, h := range headers {
		if !h.MatchRequest(r) {
			return false
		}
	}
	return true
}
