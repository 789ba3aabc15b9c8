package grpc

import "testing"

func TestMessageCoding(t *testing.T) {
	for plain, coded := range map[string]string{
		"": "", "plain text": "plain text", "50%": "50%25", "a\nb\x00": "a%0Ab%00", "~": "%7E", "ü": "%C3%BC", "}": "}", " ": " ",
	} {
		if got := string(AppendMessage([]byte("x"), plain)); got != "x"+coded {
			t.Errorf("%q is written %q", plain, got)
		}
		if got := DecodeMessage(coded); got != plain {
			t.Errorf("%q is read %q", coded, got)
		}
	}
	for coded, plain := range map[string]string{"%": "%", "%4": "%4", "%zz": "%zz", "%4g1": "%4g1", "%41%": "A%", "%c3%bC": "ü", "~": "~"} {
		if got := DecodeMessage(coded); got != plain {
			t.Errorf("%q is read %q, want %q", coded, got, plain)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{"", "%", "a%20b", "\xff\x00", "%%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		coded := AppendMessage(nil, s)
		for _, c := range coded {
			if c < ' ' || c > '~' {
				t.Fatalf("%q is written %q", s, coded)
			}
		}
		if got := DecodeMessage(string(coded)); got != s {
			t.Fatalf("%q read back as %q", s, got)
		}
		DecodeMessage(s)
	})
}
