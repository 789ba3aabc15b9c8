package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftproxy/weft/resource"
	"github.com/weftproxy/weft/subscription"
)

// A protocol is one of the two ways to speak xDS on a stream, for one type or for several. It does no I/O and is not safe for concurrent
// use: the goroutine of its stream owns it.
type protocol interface {
	// open begins a new stream: all that is wanted has to be asked for again.
	open()
	// want notes a change of what is wanted.
	want(w subscription.Want)
	// next returns the next request, nil when there is nothing to say, and the kind it is about. Kinds that calm says are to wait do.
	next(calm calm) (proto.Message, *kind)
	// pending is how many requests there are to send now.
	pending(calm calm) int
	// response returns a message to receive into.
	response() proto.Message
	// read returns what a received message says, nil when it is about a type that was not asked for.
	read(m proto.Message) *response
	// settle notes the outcome of a response: it is to be acknowledged, or refused for these reasons.
	settle(r *response, rejected []resource.Rejection)
	// topics returns the state of each type.
	topics() []topicState
}

// A calm is the kinds that are left in peace for a while: their requests wait. nil has none.
type calm map[*kind]bool

// A topicState is what a protocol knows of a type.
type topicState struct {
	kind           *kind
	names          int
	wildcard       bool
	version, nonce string
	pending        bool
	nack           string
}

// A greeter puts the node into requests.
type greeter struct {
	node  *corev3.Node
	once  bool // set_node_on_first_message_only
	given bool
}

// greet returns the node if the request is to have it.
func (g *greeter) greet() *corev3.Node {
	if g.once && g.given {
		return nil
	}
	g.given = true
	return g.node
}
