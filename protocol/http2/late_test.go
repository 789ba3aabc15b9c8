package http2

import (
	"context"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/protocol"
)

// TestHeadersOfAStreamThatBothSidesHaveEnded come while the handler has not returned: for the client the stream is closed (RFC 9113
// section 5.1).
func TestHeadersOfAStreamThatBothSidesHaveEnded(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := start(t, ServerOptions{}, &handler{serve: func(_ context.Context, st protocol.Stream) {
		_ = st.Respond(reply(200, "done"))
		<-release
	}}).greet()
	tr, dec := newTranscript()
	s.head(1, true, s.get("/"))
	s.hear(tr, dec, over(1))
	s.head(1, true, s.get("/"))
	s.hear(tr, dec, func(tr *transcript) bool { return len(tr.goAways) > 0 || tr.streams[1].reset != nil })
	if len(tr.goAways) != 1 || tr.goAways[0].ErrCode != http2.ErrCodeStreamClosed {
		t.Errorf("GOAWAY %v, reset %v", tr.goAways, tr.streams[1].reset)
	}
}
