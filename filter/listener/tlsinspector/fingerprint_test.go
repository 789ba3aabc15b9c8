package tlsinspector

import (
	"context"
	"strconv"
	"strings"
	"testing"

	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// numbers reads a list of numbers.
func numbers(t *testing.T, list, separator string, base int) []uint16 {
	t.Helper()
	var all []uint16
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(separator, r) }) {
		n, err := strconv.ParseUint(word, base, 16)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, uint16(n))
	}
	return all
}

// extensions are extensions of the given types, those with lists as they are given.
func extensions(kinds []uint16, groups []uint16, formats []byte, algorithms []uint16) []ext {
	all := []ext{}
	for _, kind := range kinds {
		e := ext{kind: kind}
		switch kind {
		case extServerName:
			e = serverName("example.com")
		case extALPN:
			e = alpn("h2", "http/1.1")
		case extSupportedGroups:
			e.content = vec(2, words(groups...))
		case extPointFormats:
			e.content = vec(1, formats)
		case extSignatureAlgorithms:
			e.content = vec(2, words(algorithms...))
		case extSupportedVersions:
			e.content = vec(1, words(0x3a3a, 0x303, 0x304, 0x302))
		}
		all = append(all, e)
	}
	return all
}

// The texts and hashes are those of the JA3 project's documentation.
func TestJA3(t *testing.T) {
	for text, want := range map[string]string{
		"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0": "ada70206e40642a3e4461f35503241d5",
		"769,4-5-10-9-100-98-3-6-19-18-99,,,":                                  "de350869b8c85de67a350c8d186f11e6",
		"769,255-49162-49172-136-135-57-56-49167-49157-132-53-49159-49161-49169-49171-69-68-51-50-49164-49166-49154-49156-150-65-4-5-47-49160-" +
			"49170-22-19-49165-49155-65279-10,0-10-11-35,23-24-25,0": "2aef69b4ba1938c3a400de4188743185",
	} {
		for _, greased := range []bool{false, true} {
			f := strings.Split(text, ",")
			ciphers, kinds, groups := numbers(t, f[1], "-", 10), numbers(t, f[2], "-", 10), numbers(t, f[3], "-", 10)
			if greased {
				ciphers = append([]uint16{0x0a0a}, ciphers...)
				groups = append([]uint16{0xfafa}, groups...)
				kinds = append(kinds, 0x1a1a)
			}
			var h hello
			if !h.parse(body(numbers(t, f[0], "-", 10)[0], ciphers, extensions(kinds, groups, []byte{0}, nil)...)) {
				t.Fatalf("%s: malformed", text)
			}
			if got := string(h.ja3Text()); got != text {
				t.Errorf("%s: text %s", text, got)
			}
			if got := h.ja3(); got != want {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
		}
	}
}

// The first fingerprint is the example of FoxIO's technical details of JA4, the second one is of another version of the same browser.
func TestJA4(t *testing.T) {
	const chrome = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
	for _, tt := range []struct{ ciphers, kinds, algorithms, want string }{
		{chrome, "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015", "0403,0804,0401,0503,0805,0501,0806,0601",
			"t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{chrome, "0000,0017,ff01,000a,000b,0023,0010,0005,000d,0012,0033,002d,002b,001b,44cd,fe0d", "0403,0804,0401,0503,0805,0501,0806,0601",
			"t13d1516h2_8daaf6152771_d8a2da3f94cd"},
	} {
		for _, greased := range []bool{false, true} {
			ciphers, kinds, algorithms := numbers(t, tt.ciphers, ",", 16), numbers(t, tt.kinds, ",", 16), numbers(t, tt.algorithms, ",", 16)
			if greased {
				ciphers = append([]uint16{0x9a9a}, ciphers...)
				kinds = append(append([]uint16{0x2a2a}, kinds...), 0xeaea)
			}
			var h hello
			if !h.parse(body(0x303, ciphers, extensions(kinds, []uint16{29}, []byte{0}, algorithms)...)) {
				t.Fatalf("%s: malformed", tt.want)
			}
			if got := h.ja4(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		}
	}
}

func TestJA4Parts(t *testing.T) {
	many := make([]uint16, 120)
	for i := range many {
		many[i] = uint16(i)
	}
	for _, tt := range []struct {
		name, want string // the beginning
		body       []byte
	}{
		{"nothing", "t12i000000_000000000000_000000000000", body(0x303, nil)},
		{"only what the third part leaves out", "t12d0002h2_000000000000_000000000000", body(0x303, nil, serverName("a"), alpn("h2"))},
		{"many ciphers", "t11i990000_", body(0x302, many)},
		{"no known version", "t00i", body(0x500, nil)},
		{"SSL 3", "ts3i", body(0x300, nil)},
		{"TLS 1.0", "t10i", body(0x301, nil)},
		{"a version of its own extension", "t13i", body(0x303, nil, ext{extSupportedVersions, vec(1, words(0x304, 0xdada, 0x301))})},
		{"one character", "t12i0001aa_", body(0x303, nil, alpn("a"))},
		{"first and last", "t12i0001h1_", body(0x303, nil, alpn("http/1.1", "h2"))},
		{"not a character first", "t12i0001a2_", body(0x303, nil, alpn("\xab\x12"))},
		{"not a character last", "t12i00013d_", body(0x303, nil, alpn("0\xab\xcd"))},
		{"empty versions", "t12i", body(0x303, nil, ext{extSupportedVersions, vec(1, nil)})},
	} {
		var h hello
		if !h.parse(tt.body) {
			t.Fatalf("%s: malformed", tt.name)
		}
		if got := h.ja4(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
}

func TestFingerprintsAreMadeWhenAskedFor(t *testing.T) {
	in := records(body(0x303, []uint16{0x1301}, serverName("example.com")), maxRecord)
	for _, on := range []bool{false, true} {
		f, _ := build(t, &inspectorv3.TlsInspector{
			EnableJa3Fingerprinting: wrapperspb.Bool(on), EnableJa4Fingerprinting: wrapperspb.Bool(on),
		})
		c := onTape(in)
		if err := f.Inspect(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		if info := c.Info(); (len(info.JA3) == 32) != on || strings.HasPrefix(info.JA4, "t12d0101") != on {
			t.Errorf("%v: %q, %q", on, info.JA3, info.JA4)
		}
	}
}
