package conn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// certificate makes a key pair that nobody trusts.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured makes TLS of both ends of a connection. version 0 is the latest.
func secured(t testing.TB, c *Conn, far net.Conn, version uint16) *tls.Conn {
	t.Helper()
	server := tls.Server(c.Wire(), &tls.Config{
		Certificates: []tls.Certificate{certificate(t)}, MaxVersion: version, DynamicRecordSizingDisabled: true,
	})
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, MaxVersion: version}) //nolint:gosec // a test of the layer
	failed := make(chan error, 1)
	go func() { // ends with the handshake
		err := server.Handshake()
		c.SetLayer(server)
		failed <- err
	}()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return client
}

// versions are the ones that differ on the wire.
var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

func TestWhatThePeerSentWithTheHandshakeIsRead(t *testing.T) {
	c, far := pair(t)
	read := make(chan error, 1)
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as above
	go func() { read <- client.Handshake() }()
	if _, err := c.Peek(5); err != nil { // as a listener filter does
		t.Fatal(err)
	}
	server := tls.Server(c.Wire(), &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.SetLayer(server)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	send(t, client, "hello")
	if b, err := c.Peek(5); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestLayerReadsAndWrites(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			c, far := pair(t)
			client := secured(t, c, far, version)
			if !c.Layered() {
				t.Error("not layered")
			}
			if err := c.TryFill(); err != ErrWouldBlock {
				t.Errorf("TryFill without anything: %v", err)
			}
			if c.buf != nil {
				t.Error("a buffer is held while nothing is there")
			}
			send(t, client, "ping")
			if err := c.Fill(); err != nil || string(c.Buffered()) != "ping" {
				t.Fatalf("Fill: %q, %v", c.Buffered(), err)
			}
			c.Discard(4)
			send(t, client, "one")
			send(t, client, "two")
			if b, err := c.Peek(6); err != nil || string(b) != "onetwo" {
				t.Fatalf("Peek: %q, %v", b, err)
			}
			c.Discard(6)
			c.Release()
			if n, err := c.Write2([]byte("po"), []byte("ng")); n != 4 || err != nil {
				t.Fatal(n, err)
			}
			b := make([]byte, 16)
			if n, err := client.Read(b); err != nil || string(b[:n]) != "pong" {
				t.Fatalf("%q, %v", b[:n], err) // one record
			}
			if c.BytesIn() != 10 || c.BytesOut() != 4 {
				t.Errorf("counted %d in, %d out", c.BytesIn(), c.BytesOut())
			}
		})
	}
}

func TestLayerFillWaits(t *testing.T) {
	c, far := pair(t)
	client := secured(t, c, far, 0)
	got := make(chan error, 1)
	go func() { got <- c.Fill() }()
	send(t, client, "x")
	if err := <-got; err != nil || string(c.Buffered()) != "x" {
		t.Fatalf("%q, %v", c.Buffered(), err)
	}
}

// trickle passes writes on a byte at a time.
type trickle struct{ net.Conn }

func (w trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := w.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestLayerTakesRecordsInPieces(t *testing.T) {
	c, far := pair(t)
	_ = far.SetNoDelay(true)
	client := secured(t, c, trickle{far}, 0)
	go func() { _, _ = io.WriteString(client, "in pieces") }()
	for string(c.Buffered()) != "in pieces" {
		switch err := c.TryFill(); err {
		case nil:
		case ErrWouldBlock:
			if err := c.Fill(); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
	}
}

func TestLayerCarriesMuch(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			c, far := pair(t)
			client := secured(t, c, far, version)
			data := make([]byte, 3<<20)
			_, _ = rand.Read(data)
			go func() {
				for at := 0; at < len(data); {
					n := min(len(data)-at, 200_001)
					if _, err := c.Write3(data[at:at+n/3], nil, data[at+n/3:at+n]); err != nil {
						t.Error(err)
						return
					}
					at += n
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
			}()
			back := make(chan [sha256.Size]byte, 1)
			go func() {
				h := sha256.New()
				b := make([]byte, 100_000)
				for {
					n, err := c.ReadInto(b, false)
					h.Write(b[:n])
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						back <- [sha256.Size]byte(h.Sum(nil))
						return
					}
				}
			}()
			go func() {
				_, _ = client.Write(data)
				_ = client.CloseWrite()
			}()
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes: %v", len(got), err)
			}
			if sum := <-back; sum != sha256.Sum256(data) {
				t.Error("other bytes arrived than were sent")
			}
		})
	}
}

func TestLayerIsWoken(t *testing.T) {
	c, far := pair(t)
	client := secured(t, c, far, 0)
	cause := errors.New("enough")
	got := make(chan error, 1)
	go func() { got <- c.Fill() }()
	c.WakeRead(cause)
	if err := <-got; err != cause {
		t.Fatal(err)
	}
	c.Revive()
	send(t, client, "on")
	if b, err := c.Peek(2); err != nil || string(b) != "on" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestAwaitPeerThroughALayer(t *testing.T) {
	c, far := pair(t)
	client := secured(t, c, far, 0)
	send(t, client, "here")
	if err := c.AwaitPeer(); err != nil || string(c.Buffered()) != "here" {
		t.Fatalf("%q, %v", c.Buffered(), err)
	}
	c.Discard(4)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitPeer(); err != io.EOF {
		t.Fatal(err)
	}
}

func TestCloseSaysGoodbye(t *testing.T) {
	for _, woken := range []bool{false, true} {
		c, far := pair(t)
		client := secured(t, c, far, 0)
		if woken {
			c.Wake(errors.New("over"))
		}
		c.Close()
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("woken %v: %d, %v", woken, n, err)
		}
		raw := make([]byte, 1)
		if _, err := far.Read(raw); err != io.EOF {
			t.Error("the socket stays open:", err)
		}
	}
}

func TestAStreamThatIsCutOffIsToldFromOneThatEnds(t *testing.T) {
	for name, version := range versions {
		for _, cut := range []bool{false, true} {
			c, far := pair(t)
			client := secured(t, c, far, version)
			if c.Cut() {
				t.Errorf("%s: cut at the beginning", name)
			}
			send(t, client, "x")
			if !cut {
				_ = client.CloseWrite()
			}
			if err := far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			if string(b) != "x" || err != nil || c.Cut() != cut {
				t.Errorf("%s: %q, %v, cut is %v, want %v", name, b, err, c.Cut(), cut)
			}
		}
	}
	c, far := pair(t)
	if far.Close(); c.Fill() != io.EOF || c.Cut() {
		t.Error("plain text has no word for the end")
	}
}

func TestCloseDoesNotWaitForAPeerThatReadsNothing(t *testing.T) {
	c, far := pair(t)
	secured(t, c, far, 0)
	stuck := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 64<<20))
		stuck <- err
	}()
	cause := errors.New("over")
	c.Wake(cause)
	if err := <-stuck; err != cause {
		t.Fatal(err)
	}
	began := time.Now()
	c.Close()
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
}

// talker is a layer that has something to write when it is to read, as TLS does when the peer changes its keys, and says goodbye.
type talker struct{ *Wire }

func (l talker) Read(p []byte) (int, error) {
	if _, err := l.Write([]byte("answer")); err != nil {
		return 0, err
	}
	return l.Wire.Read(p)
}

func (l talker) CloseWrite() error {
	_, err := l.Write([]byte("goodbye"))
	return err
}

func TestAReadThatHasToWriteIsWoken(t *testing.T) {
	for _, early := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, far := piped(t)
			_ = far.SetDeadline(time.Time{})
			c.SetLayer(talker{c.Wire()})
			cause := errors.New("enough")
			if early {
				c.WakeRead(cause)
			}
			done := make(chan error)
			go func() { done <- c.Fill() }() // nobody reads what it writes
			synctest.Wait()
			if !early {
				c.WakeRead(cause)
			}
			if err := <-done; err != cause {
				t.Errorf("early %v: %v", early, err)
			}
		})
	}
}

func TestAWakeOfReadsLeavesWritesAloneOnceTheReadIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := piped(t)
		_ = far.SetDeadline(time.Time{})
		c.SetLayer(talker{c.Wire()})
		cause := errors.New("enough")
		done := make(chan error)
		go func() { done <- c.Fill() }()
		synctest.Wait()
		c.WakeRead(cause)
		if _, err := io.ReadFull(far, make([]byte, len("answer"))); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != cause {
			t.Error(err)
		}
		go func() { _, err := c.Write([]byte("more")); done <- err }()
		time.Sleep(2 * layerWait) // virtual
		if _, err := io.ReadFull(far, make([]byte, len("more"))); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestALimitIsForTheLayersLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(t)
		c.SetLayer(talker{c.Wire()})
		c.Limit(time.Second)
		if err := c.CloseWrite(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestDetachOfALayeredConnectionIsRefused(t *testing.T) {
	c, far := pair(t)
	secured(t, c, far, 0)
	if _, _, err := c.Detach(); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
}

// A resting layer counts how often it was told to rest.
type resting struct {
	*tls.Conn
	rests int
}

func (r *resting) Rest() { r.rests++ }

func TestRestIsTheLayersAsWell(t *testing.T) {
	c, _ := pair(t)
	c.Grow(SmallBuffer)
	c.Rest()
	if c.buf != nil {
		t.Error("the buffer is kept")
	}
	l := &resting{}
	c.SetLayer(l)
	c.Rest()
	if l.rests != 1 {
		t.Errorf("the layer has rested %d times", l.rests)
	}
	c.SetLayer(&tls.Conn{}) // which cannot
	c.Rest()
	c.layer = nil // what is closed is not that
}
