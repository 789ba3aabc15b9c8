package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/internal/scope"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
)

func enter(live *exchange.Live, lane uint32, path string) *exchange.Exchange {
	x := &exchange.Exchange{Lane: lane}
	x.Begin(&message.Request{Method: "GET", Authority: "shop.example", Path: path, Body: message.NoBody},
		&conn.Info{ID: uint64(lane) + 1, Listener: "ingress", Remote: netip.MustParseAddrPort("192.0.2.7:4000")}, nil)
	x.Record.Start = scope.Now()
	live.Enter(x)
	return x
}

func TestExchangesAreSortedByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := exchange.NewLive()
		for i, path := range []string{"/oldest", "/old\x1b[2J", "/new", "/newest"} {
			x := enter(live, uint32(7*(i+3)), path) // shards in another order than ages
			x.At(exchange.Acquire)
			time.Sleep(1500 * time.Millisecond)
		}
		s := State{Live: live}
		_, body := get(t, s, "/exchanges")
		golden(t, "exchanges", body)
		_, body = get(t, s, "/exchanges?limit=2&format=json")
		var got struct{ Exchanges []map[string]any }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Exchanges) != 2 || got.Exchanges[0]["path"] != "/oldest" || got.Exchanges[0]["age_ms"] != 6000.0 ||
			got.Exchanges[1]["path"] != "/old\x1b[2J" || got.Exchanges[0]["stage"] != "acquire" {
			t.Errorf("%s", body)
		}
		if code, _ := get(t, s, "/exchanges?limit=many"); code != http.StatusBadRequest {
			t.Errorf("limit=many: %d", code)
		}
	})
}

func someFailures() *exchange.Failures {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	f := exchange.NewFailures(10)
	f.Add(exchange.Failure{
		At: at, Status: 503, Flags: observe.UF | observe.URX, Details: "upstream_reset_before_response_started{connection_failure}", Stage: "acquire",
		Side: "upstream", Method: "GET", Host: "shop.example", Path: "/" + strings.Repeat("a", 200), Cluster: "web", Upstream: "127.0.0.1:8080",
		Attempts: 3, Duration: 1234567 * time.Microsecond, Route: "r1", Listener: "ingress", Remote: netip.MustParseAddrPort("192.0.2.7:4000"),
		RequestID: "id-1", Cause: "dial tcp 127.0.0.1:8080: connection refused", Place: "virtual_hosts[0].routes[1]",
	})
	f.Add(exchange.Failure{
		At: at.Add(time.Second), Status: 404, Flags: observe.NR, Details: "route_not_found", Stage: "route", Side: "local", Method: "GET",
		Host: "<b>", Path: "/\n", Listener: "ingress", Duration: 90 * time.Microsecond,
	})
	return f
}

func TestFailures(t *testing.T) {
	s := State{Failures: someFailures()}
	_, body := get(t, s, "/failures")
	golden(t, "failures", body)
	_, body = get(t, s, "/failures?format=json")
	golden(t, "failures_json", body)
}

func TestFailuresFilter(t *testing.T) {
	for query, want := range map[string]string{
		"": "404 503", "limit=1": "404", "flag=UF": "503", "flag=nr": "404", "flag=UH": "", "status=503": "503", "status=5xx": "503", "status=4xx": "404",
		"status=400": "", "cluster=web": "503", "cluster=web&status=404": "",
	} {
		_, body := get(t, State{Failures: someFailures()}, "/failures?format=json&"+query)
		var got struct{ Failures []struct{ Status int } }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var statuses []string
		for _, f := range got.Failures {
			statuses = append(statuses, fmt.Sprint(f.Status))
		}
		if s := strings.Join(statuses, " "); s != want {
			t.Errorf("%s: %q, want %q", query, s, want)
		}
	}
	for _, query := range []string{"flag=ZZ", "status=fivexx", "status=-1", "status=9999", "limit=0"} {
		if code, _ := get(t, State{Failures: someFailures()}, "/failures?"+query); code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, code)
		}
	}
}

func TestExplain(t *testing.T) {
	s := State{Explain: func(_ context.Context, q Question) (string, any, error) {
		if q.URL == "bad" {
			return "", nil, errors.New("no host in \x07 URL")
		}
		if q.Listener != "" {
			return fmt.Sprintf("%s %s %s %q\n", q.Listener, q.Remote, q.SNI, q.ALPN), nil, nil
		}
		return fmt.Sprintf("%s %s\n%v\x1b\n", q.Method, q.URL, q.Headers), map[string]string{"url": q.URL}, nil
	}}
	for target, want := range map[string]string{
		"/explain?url=http://a/b%3Fc%3D<d>":                                      "200 GET http://a/b?c=<d>\n[]\\x1b\n",
		"/explain?url=http://a/&method=POST&header=x:1&header=y:%202%20&header=": "200 POST http://a/\n[[x 1] [y 2]]\\x1b\n",
		"/explain?url=http://a/<&format=json":                                    "200 {\n \"url\": \"http://a/\\u003c\"\n}",
		"/explain?url=https://a/&listener=l&remote=::1&sni=b&alpn=h2,x":          "200 l ::1 b [\"h2\" \"x\"]\n",
		"/explain?url=bad":                "400 cannot explain: no host in \\x07 URL\n",
		"/explain?url=http://a/&header=x": "400 header: want name:value\n",
		"/explain":                        "400 usage: /explain?url=<url>[&method=<method>][&header=<name>:<value>]...[&listener=<name>][&remote=<address>][&sni=<name>][&alpn=<protocol>,...][&format=json]\n",
	} {
		code, body := get(t, s, target)
		if got := fmt.Sprintf("%d %s", code, body); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "grüße 世": "grüße 世", "a\x1b[0m\n\x7f": `a\x1b[0m\x0a\x7f`, "\xff\xfe": `\xff\xfe`, "�": `\xef\xbf\xbd`,
		"\u0085\u2028": `\xc2\x85\xe2\x80\xa8`, "": "", "a\xffb": `a\xffb`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"a", "\xff", "�", "\u2028\x00", "\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		for _, r := range got {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '�' {
				t.Fatalf("%q keeps %q", s, r)
			}
		}
		if clean(got) != got {
			t.Fatalf("%q is not clean", got)
		}
	})
}
