//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// bait accepts connections, reads size bytes of each and hangs up. What it read of the first
// comes out of the channel.
func bait(t *testing.T, size int) (addr string, first <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got, done := make(chan []byte, 1), make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, size)
			n, _ := io.ReadFull(c, b)
			c.Close()
			select {
			case got <- b[:n]:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), got
}

// typesOf lists the types of the frames behind the preface, the last of which may be cut off.
func typesOf(t *testing.T, b []byte) (types []http2.FrameType) {
	t.Helper()
	b, ok := bytes.CutPrefix(b, []byte(http2.ClientPreface))
	if !ok {
		t.Fatalf("no preface: %q", b)
	}
	for len(b) >= h2FrameHead {
		types = append(types, http2.FrameType(b[3]))
		b = b[min(len(b), h2FrameHead+int(b[0])<<16+int(b[1])<<8+int(b[2])):]
	}
	return types
}

func TestFloodsSendWhatTheyAreNamedFor(t *testing.T) {
	start := []http2.FrameType{http2.FrameSettings, http2.FrameSettings}
	for name, want := range map[string][]http2.FrameType{
		"rapid-reset":        {http2.FrameHeaders, http2.FrameRSTStream, http2.FrameHeaders, http2.FrameRSTStream},
		"made-you-reset":     {http2.FrameHeaders, http2.FrameWindowUpdate, http2.FrameHeaders},
		"malformed":          {http2.FrameHeaders, http2.FrameHeaders},
		"continuation":       {http2.FrameHeaders, http2.FrameContinuation},
		"empty-continuation": {http2.FrameHeaders, http2.FrameContinuation, http2.FrameContinuation},
		"empty-data":         {http2.FrameHeaders, http2.FrameData, http2.FrameData},
		"empty-fields":       {http2.FrameHeaders},
		"ping":               {http2.FramePing, http2.FramePing},
		"settings":           {http2.FrameSettings, http2.FrameSettings},
		"priority":           {http2.FramePriority, http2.FramePriority},
		"window-update":      {http2.FrameHeaders, http2.FrameWindowUpdate, http2.FrameWindowUpdate},
		"dribble":            {http2.FrameHeaders, http2.FrameHeaders},
		"unread":             {http2.FrameWindowUpdate, http2.FrameHeaders, http2.FrameHeaders},
		"hpack-bomb":         {http2.FrameHeaders},
		"cookie-bomb":        {http2.FrameHeaders, http2.FrameHeaders},
		"stalled":            {http2.FrameHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range floods() {
				if f.name == name {
					checkFlood(t, f, append(start, want...))
					return
				}
			}
			t.Error("no such flood")
		})
	}
	if n := len(floods()); n != 16 {
		t.Errorf("%d floods, the table has 16", n)
	}
}

func checkFlood(t *testing.T, f flood, want []http2.FrameType) {
	addr, first := bait(t, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := openAttack(ctx, addr, f)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if err := f.run(a); err == nil || ctx.Err() != nil {
		t.Errorf("attack ended with %v (%v), want the peer's end", err, ctx.Err())
	}
	types := typesOf(t, <-first)
	if len(types) < len(want) {
		t.Fatalf("frames %v, want %v", types, want)
	}
	for i := range want {
		if types[i] != want[i] {
			t.Fatalf("frames %v, want %v", types[:len(want)], want)
		}
	}
}

func TestFloodingComesBackAndEndsWithItsContext(t *testing.T) {
	addr, first := bait(t, 200)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type took struct{ frames, connections int64 }
	done := make(chan took, 1)
	go func() {
		frames, connections := flooding(ctx, addr, floods()[0])
		done <- took{frames, connections}
	}()
	for range 2 * attackers { // so some have come twice
		select {
		case <-first:
		case <-time.After(20 * time.Second):
			t.Fatal("the attack stopped")
		}
	}
	cancel()
	select {
	case got := <-done:
		if got.connections <= attackers || got.frames == 0 {
			t.Errorf("%+v, want more than %d connections", got, attackers)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the attack does not end")
	}
}

func TestBehaveCountsAnswersAndFailures(t *testing.T) {
	b := &bench{}
	got, err := b.behave(t.Context(), startOrigin(t, serviceHTTP2), 500*time.Millisecond)
	if err != nil || got.requests == 0 || got.failed != 0 || got.p99 < got.p50 || got.p50 == 0 {
		t.Errorf("behave = %+v, %v", got, err)
	}
	addr, _ := bait(t, 30)
	if got, err := b.behave(t.Context(), addr, 500*time.Millisecond); err == nil || got.failed == 0 {
		t.Errorf("behave = %+v, %v; want failures only", got, err)
	}
}
