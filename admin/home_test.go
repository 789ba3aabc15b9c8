package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/html"
)

func TestHomePage(t *testing.T) {
	s := State{
		Info:  Info{Version: "1.0", Started: time.Now(), Node: &corev3.Node{Id: `<script>alert("x")</script>`}},
		Ready: func() adminv3.ServerInfo_State { return adminv3.ServerInfo_DRAINING },
	}
	resp := do(t, s, http.MethodGet, "/", "")
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error(resp.Header)
	}
	_, body := readAll(t, resp)
	if strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") {
		t.Error("the node's name is not escaped, or not there")
	}
	if !strings.Contains(body, "DRAINING") {
		t.Error("no state")
	}
	links, forms := map[string]bool{}, map[string]string{}
	open := 0
	for z := html.NewTokenizer(strings.NewReader(body)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		token := z.Token()
		attr := map[string]string{}
		for _, a := range token.Attr {
			attr[a.Key] = a.Val
		}
		switch {
		case kind == html.StartTagToken && token.Data == "a":
			links[attr["href"]] = true
		case kind == html.StartTagToken && token.Data == "form":
			forms[attr["action"]] = attr["method"]
			open++
		case kind == html.EndTagToken && token.Data == "form":
			open--
		}
		if open < 0 || open > 1 {
			t.Fatal("forms are nested")
		}
	}
	for _, cmd := range commands() {
		switch {
		case cmd.free:
		case cmd.post && (forms[cmd.path] != "post" || links[cmd.path]):
			t.Errorf("%s: form %q, link %v", cmd.path, forms[cmd.path], links[cmd.path])
		case !cmd.post && (forms[cmd.path] == "post" || !links[cmd.path]):
			t.Errorf("%s: form %q, link %v", cmd.path, forms[cmd.path], links[cmd.path])
		}
	}
}
