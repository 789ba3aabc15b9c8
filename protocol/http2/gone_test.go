package http2

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/protocol"
)

// A keeper is an owner that takes its time to learn that a session is gone.
type keeper struct {
	protocol.Owner
	slow chan struct{}
}

func (k *keeper) Gone(s protocol.Session, cause error) {
	<-k.slow
	k.Owner.Gone(s, cause)
}

// Whoever makes a request again asks the owner for a session, which must not be the one that has just failed.
func TestTheOwnerKnowsBeforeARequestFails(t *testing.T) {
	for name, end := range map[string]func(o *origin, id uint32){
		"GOAWAY": func(o *origin, _ uint32) { _ = o.fr.WriteGoAway(0, http2.ErrCodeNo, nil); o.await(http2.FrameGoAway) },
		"GOAWAY for an error": func(o *origin, _ uint32) {
			_ = o.fr.WriteGoAway(0, http2.ErrCodeInternal, nil)
			o.await(http2.FrameGoAway)
		},
		"the connection ends":   func(o *origin, _ uint32) { _ = o.nc.Close() },
		"a frame that is wrong": func(o *origin, id uint32) { _ = o.fr.WriteRSTStream(id+100, 0); o.await(http2.FrameGoAway) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { ownerKnowsFirst(t, end) })
		})
	}
}

func ownerKnowsFirst(t *testing.T, end func(o *origin, id uint32)) {
	near, far := inMemory()
	own := newOwner()
	k := &keeper{own, make(chan struct{})}
	s, err := NewClient(ClientOptions{}).Open(context.Background(), conn.New(near), k)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		if o := newOrigin(far); o.greet() {
			end(o, o.await(http2.FrameHeaders).id)
		}
	}()
	failed := make(chan error, 1)
	go func() { // ends when the request has failed
		_, err := s.RoundTrip(context.Background(), request("GET", "/", ""))
		failed <- err
	}()
	synctest.Wait()
	if len(failed) > 0 {
		t.Error("the request failed before the owner knew why")
	}
	close(k.slow)
	err = <-failed
	var reset *protocol.ResetError
	var broken *protocol.BrokenError
	if !errors.As(err, &reset) && !errors.As(err, &broken) {
		t.Error(err)
	}
	s.Close(nil)
	own.await(t, func(o *owner) bool { return o.gone == 1 })
	<-done
}
