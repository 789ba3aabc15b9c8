package route

import "testing"

// FuzzMatch checks that no authority or path breaks the match, and that the index and a walk agree.
func FuzzMatch(f *testing.F) {
	table := compile(f, configOf(f, `
ignore_port_in_host_matching: true
virtual_hosts:
- name: h
  domains: ['*', 'a.com', '*.b.com', 'c.*', '[::1]']
  routes:
  - {match: {path: /Exact, case_sensitive: false}, route: {cluster: c}}
  - {match: {path_separated_prefix: /sep}, route: {cluster: c}}
  - {match: {safe_regex: {regex: '/re/\d+|/re/x'}}, route: {cluster: c}}
  - {match: {prefix: /p, query_parameters: [{name: q}]}, route: {cluster: c}}
  - {match: {prefix: /p}, redirect: {prefix_rewrite: /n, strip_query: true}}
  - {match: {prefix: '/'}, redirect: {https_redirect: true, path_redirect: '/x'}}
`))
	for _, seed := range [][2]string{{"a.com", "/exact?x"}, {"x.B.com:80", "/sep/"}, {"c.d", "/re/1"}, {"[::1]:1", "/p?q"}, {"", "p"}, {"[", "?#"}, {"]:", ""}} {
		f.Add(seed[0], seed[1])
	}
	h := table.domains.any.host
	f.Fuzz(func(t *testing.T, authority, path string) {
		r := get(authority, path)
		got := table.Match(r, nil, 0)
		q := table.query(r, nil, 0)
		if e := h.walk(&q); e == nil && got != table.none || e != nil && got != e.route {
			t.Fatalf("%q: another route than by walking", path)
		}
		if got.Redirect != nil {
			got.AppendLocation(nil, r)
		}
	})
}
