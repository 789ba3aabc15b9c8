package xfcc

import (
	"reflect"
	"strings"
	"testing"
)

func TestElementsAreWrittenAsEnvoyWritesThem(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Element
		want string
	}{
		{"nothing", Element{}, ""},
		{"usual", Element{By: []string{"spiffe://td/ns/a/sa/b"}, Hash: "ab12", Subject: "", HasSubject: true, URI: []string{"spiffe://td/ns/c/sa/d"}, HasURI: true},
			`By=spiffe://td/ns/a/sa/b;Hash=ab12;Subject="";URI=spiffe://td/ns/c/sa/d`},
		{"everything", Element{By: []string{"u1", "u2"}, Hash: "h", Cert: "-----BEGIN%20", Chain: "-----BEGIN%20x", Subject: `CN=a\"b,O=x`, HasSubject: true,
			URI: []string{"a", "b"}, HasURI: true, DNS: []string{"c", "d"}},
			`By=u1;By=u2;Hash=h;Cert="-----BEGIN%20";Chain="-----BEGIN%20x";Subject="CN=a\"b,O=x";URI=a;URI=b;DNS=c;DNS=d`},
		{"no URI", Element{Hash: "h", HasURI: true}, "Hash=h;URI="},
		{"a name that looks like more", Element{Hash: "h", URI: []string{`http://a?b=c`, `u;Hash=x`, `u,By=x`}, DNS: []string{`d"\`}},
			`Hash=h;URI=http://a?b=c;URI="u;Hash=x";URI="u,By=x";DNS="d\"\\"`},
		{"line breaks", Element{Hash: "h", URI: []string{"u\r\nx: y"}, DNS: []string{"\x00\xff"}, Subject: "CN=\n", HasSubject: true},
			`Hash=h;Subject="CN=%0A";URI=u%0D%0Ax: y;DNS=%00%FF`},
	} {
		if got := string(c.e.Append(nil)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := string(c.e.Append([]byte("old,"))); got != "old,"+c.want {
			t.Errorf("%s after another: %s", c.name, got)
		}
	}
}

func TestHeadersAreRead(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []Element
	}{
		{`By=a;Hash=h`, []Element{{By: []string{"a"}, Hash: "h"}}},
		{` by=a; HASH=h ,By=b;uri=u;Uri=;URI=v`, []Element{{By: []string{"a"}, Hash: "h"}, {By: []string{"b"}, URI: []string{"u", "v"}, HasURI: true}}},
		{`Hash=h;Subject="CN=a\,b,O=\"x\";y";DNS="q\"\\r" ;Other=1`, []Element{{Hash: "h", Subject: `CN=a\,b,O=\"x\";y`, HasSubject: true, DNS: []string{`q"\r`}}}},
		{`Subject=CN=a"b\`, []Element{{Subject: `CN=a\"b\\`, HasSubject: true}}},
		{`Cert="c";Chain="d";URI=`, []Element{{Cert: "c", Chain: "d", HasURI: true}}},
	} {
		got, err := Parse(c.value)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %+v (%v)\nwant %+v", c.value, got, err, c.want)
		}
	}
	for value, want := range map[string]string{
		"": "no key", "a": "no key", "=b": "no key", "By=a;": "no key", "By=a,": "no key", "By=a,,By=b": "no key", "By=a;;By=b": "no key",
		`By="a`: "does not end", `By="a\"`: "does not end", `By="a"b`: "after a quoted", "Hash=a;hash=b": "hash is given twice",
		`Subject="";Subject=a`: "subject is given twice", "Cert=a;Cert=b": "cert is given twice", "Chain=a;Chain=b": "chain is given twice", `"By"=a`: "no key",
	} {
		if all, err := Parse(value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", value, all, err, want)
		}
	}
}

func TestOpenQuotesAreSeen(t *testing.T) {
	for value, want := range map[string]bool{"": true, "By=a": true, `By="a"`: true, `By="a";URI="`: false, `By="a\"`: false, `By="a\\"`: true,
		`a"b,c"d`: true, `\"`: false, `""`: true, `"""`: false} {
		if got := Closed(value); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	e := Element{By: []string{"u"}, Hash: "h", Subject: "CN=a", HasSubject: true, URI: []string{`a;b`}, HasURI: true}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = e.Append(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzXFCC(f *testing.F) {
	f.Add(`By=spiffe://a;Hash=b;Cert="c";Chain="d";Subject="CN=\"x\",O=y";URI=e;DNS=f,By=g`, "spiffe://a", "x;y")
	f.Add(`Subject=a"b\ , uri=`, `"`, `\`)
	f.Fuzz(func(t *testing.T, value, uri, dns string) {
		if all, err := Parse(value); err == nil {
			var once, again []byte
			for i := range all {
				once = join(once, &all[i])
			}
			if all, err = Parse(string(once)); err != nil && len(once) > 0 {
				t.Fatalf("%q of %q: %v", once, value, err)
			}
			for i := range all {
				again = join(again, &all[i])
			}
			if string(again) != string(once) || !Closed(string(once)) {
				t.Fatalf("%q becomes %q", once, again)
			}
		}
		e := Element{Hash: "h", URI: []string{uri}, HasURI: true, DNS: []string{dns, "last"}}
		text := string(e.Append(nil))
		all, err := Parse(text)
		if err != nil || len(all) != 1 || all[0].Hash != "h" || len(all[0].DNS) != 2 || all[0].DNS[1] != "last" || len(all[0].By) != 0 {
			t.Fatalf("%q of %q and %q: %+v, %v", text, uri, dns, all, err)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Fatalf("%q is no header value", text)
		}
		if visible(uri) && uri != "" && all[0].URI[0] != uri || visible(dns) && all[0].DNS[0] != dns {
			t.Fatalf("%q of %q and %q: %+v", text, uri, dns, all)
		}
	})
}

// join appends an element to a header's value, unless it says nothing.
func join(value []byte, e *Element) []byte {
	if len(e.Append(nil)) == 0 {
		return value
	}
	if len(value) > 0 {
		value = append(value, ',')
	}
	return e.Append(value)
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}
