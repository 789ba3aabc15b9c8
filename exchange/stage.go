package exchange

// A Stage is a step of the walk. The words are the same in code, in docs/life-of-an-exchange.md, in span events and in /exchanges.
type Stage uint8

// The stages in order.
const (
	Accept Stage = iota
	Inspect
	Match
	Handshake
	Decode
	Routing
	Filtering
	Pick
	Acquire
	Send
	Receive
	Respond
	Recording
	stageCount
)

// Stages are the stages' names in order.
func Stages() []string {
	return []string{"accept", "inspect", "match", "handshake", "decode", "route", "filter", "pick", "acquire", "send", "receive", "respond", "record"}
}

// String returns the stage's name.
func (s Stage) String() string { return Stages()[s] }

// A Side says whose doing a failure was.
type Side uint8

// The sides.
const (
	Local Side = iota
	Downstream
	Upstream
)

// String returns the side's name.
func (s Side) String() string { return [...]string{"local", "downstream", "upstream"}[s] }

// Retry says whether trying again may help and is safe.
type Retry uint8

// The kinds of failure, from the retry's point of view.
const (
	Never        Retry = iota
	NothingSent        // no byte of the request left: connect failure, refused stream
	ReusedConn         // a reused connection died before any response byte: once, free of budget
	IfPolicySays       // the request may have been processed
)
