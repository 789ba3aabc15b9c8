//go:build linux

package main

import (
	"bytes"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func dialH2Origin(t *testing.T, s service, window uint32) *h2Client {
	t.Helper()
	c, err := dialH2(startOrigin(t, s), 10*time.Second, window, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// Answers are decoded with one table for the whole connection.
func TestH2OriginAnswersAsFarAsTheWindowGoes(t *testing.T) {
	for s, size := range map[service]int{serviceHTTP2: 100, serviceUnary: len(grpcReply())} {
		h := newH2Conn(s, prepareH2(s))
		var in bytes.Buffer
		in.WriteString(http2.ClientPreface)
		framer := http2.NewFramer(&in, nil)
		const requests = 700
		for i := range uint32(requests) {
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, EndHeaders: true, EndStream: true}); err != nil {
				t.Fatal(err)
			}
		}
		half := in.Len()/2 + 1
		rest := h.read(in.Bytes()[:half])
		if rest = h.read(append(bytes.Clone(rest), in.Bytes()[half:]...)); len(rest) != 0 {
			t.Errorf("%s: %d bytes are left", s, len(rest))
		}
		early := countOKs(t, h.out)
		if want := h2FirstWindow / size; early != want {
			t.Errorf("%s: %d answers in the first window, want %d", s, early, want)
		}
		if h.grow(0, 1<<20); countOKs(t, h.out) != requests {
			t.Errorf("%s: %d of %d answers", s, countOKs(t, h.out), requests)
		}
	}
}

// countOKs counts responses and checks each.
func countOKs(t *testing.T, out []byte) (n int) {
	t.Helper()
	framer := http2.NewFramer(nil, bytes.NewReader(out))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := framer.ReadFrame()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.MetaHeadersFrame); ok && f.PseudoValue("status") == "200" {
			if n++; f.StreamID != uint32(2*n-1) || len(f.RegularFields()) < 2 || f.RegularFields()[0].Value != "origin" {
				t.Fatalf("answer %d: %v", n, f)
			}
		}
	}
}

func TestH2OriginSendsWhatWindowsAllow(t *testing.T) {
	for _, window := range []uint32{1 << 10, h2FirstWindow, 4 << 20} {
		c := dialH2Origin(t, serviceDownload, window)
		for _, path := range []string{"/0", "/1", "/300001"} {
			want := map[string]int64{"/0": 0, "/1": 1, "/300001": 300001}[path]
			if n, err := c.ask(path, 20*time.Second, window); err != nil || n != want {
				t.Fatalf("window %d: %s: %d bytes, %v", window, path, n, err)
			}
		}
	}
}

// Fields are read with a real decoder, for a peer with a table and one without.
func TestH2OriginEchoesMessagesAndEndsWithAStatus(t *testing.T) {
	for _, table := range []uint32{4096, 0} {
		c := dialH2Origin(t, serviceEcho, h2FirstWindow)
		in := hpack.NewDecoder(table, nil)
		c.framer.ReadMetaHeaders = in
		if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: table}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []uint32{1, 3} {
			echoOnce(t, c, id)
		}
	}
}

func echoOnce(t *testing.T, c *h2Client, id uint32) {
	t.Helper()
	message := bytes.Repeat([]byte("m"), 20000)
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.section("/"), EndHeaders: true})
	for _, part := range [][]byte{message[:16000], message[16000:]} {
		if err == nil {
			err = c.framer.WriteData(id, len(part) < 16000, part)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for headers := 0; headers < 2; {
		f, err := c.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			headers++
			last := f.Fields[len(f.Fields)-1]
			if headers == 1 && (f.PseudoValue("status") != "200" || last.Value != "application/grpc") ||
				headers == 2 && (last.Name != "grpc-status" || last.Value != "0" || !f.StreamEnded()) {
				t.Errorf("section %d: %v", headers, f.Fields)
			}
		case *http2.DataFrame:
			got = append(got, f.Data()...)
		default:
			if err := c.control(f, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(got, message) {
		t.Errorf("%d bytes came back, want %d", len(got), len(message))
	}
}

func TestIsOK(t *testing.T) {
	for _, c := range []struct {
		block string
		want  bool
	}{
		{"\x88", true}, {"\x20\x88\x5c", true}, {"\x3f\xe1\x1f\x88", true}, {"", false}, {"\x89", false}, {"\x3f\xe1", false}, {"\x20", false},
	} {
		if got := isOK([]byte(c.block)); got != c.want {
			t.Errorf("isOK(%x) = %v", c.block, got)
		}
	}
}
