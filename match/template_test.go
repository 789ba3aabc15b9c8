package match

import "testing"

func TestTemplatesMatch(t *testing.T) {
	for _, tc := range []struct {
		template string
		yes, no  []string
	}{
		{"/", []string{"/", "/?q"}, []string{"", "/a"}},
		{"/a/b", []string{"/a/b", "/a/b?c=/d", "/a/b#c"}, []string{"/a/b/", "/a", "/a/B", "/x/a/b"}},
		{"/a/", []string{"/a/"}, []string{"/a", "/a/b"}},
		{"/*", []string{"/a", "/a.b-c~%41"}, []string{"/", "/a/b", "/a=b", "/a*"}},
		{"/b/*/c/**", []string{"/b/x/c/", "/b/x/c/y", "/b/x/c/y/z"}, []string{"/b/c/y", "/b/x/y/c/z", "/b//c/z", "/b/x/c"}},
		{"/**", []string{"/", "/a/b/c"}, []string{"", "a"}},
		{"/**.m3u8", []string{"/a/b.m3u8", "/.m3u8"}, []string{"/a.m3u8x", "/am3u8"}},
		{"/{tenant}/x", []string{"/t/x"}, []string{"//x", "/t/u/x"}},
		{"/{rest=**}/end", []string{"/a/b/end", "//end"}, []string{"/end"}},
		{"/{p=v1/*}/q", []string{"/v1/a/q"}, []string{"/v2/a/q", "/v1/a/b/q"}},
		{"/a.b/(c)", []string{"/a.b/(c)"}, []string{"/axb/(c)", "/a.b/c"}},
		{"/{a}{b", nil, nil},
	} {
		m, err := NewTemplate(tc.template)
		if tc.yes == nil {
			if err == nil {
				t.Errorf("%s is accepted", tc.template)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.template, err)
			continue
		}
		for _, path := range tc.yes {
			if !m.Match(path) {
				t.Errorf("%s does not match %s", tc.template, path)
			}
		}
		for _, path := range tc.no {
			if m.Match(path) {
				t.Errorf("%s matches %s", tc.template, path)
			}
		}
	}
}

func TestTemplatesAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "a", "/a//b", "//", "/a b", "/a=b", "/**/*", "/**/**", "/**/{x}", "/{x=**}/*", "/*a/b", "/{x", "/{}", "/{1a}", "/{_a}", "/{x=}",
		"/{x=a/}", "/{x=*b}", "/{x}/{x}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{abcdefghijklmnopq}", "/{x}a/", "/a*", "/***",
	} {
		if _, err := NewTemplate(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("/a/*/{b=c/**}.d", "/a/x/c/y/z.d")
	f.Add("/**", "/")
	f.Fuzz(func(t *testing.T, template, path string) {
		m, err := NewTemplate(template)
		if err != nil {
			return
		}
		if m.Match(path) && (path == "" || path[0] != '/') {
			t.Errorf("%q matches %q", template, path)
		}
	})
}
