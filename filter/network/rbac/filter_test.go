package rbac

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/resource"
)

func TestSupport(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}

type handlerFunc func(ctx context.Context, c *conn.Conn) error

func (f handlerFunc) ServeConn(ctx context.Context, c *conn.Conn) error { return f(ctx, c) }

func build(t *testing.T, text string, next handlerFunc) (*Filter, *stats.Store, error) {
	t.Helper()
	var m rbacv3.RBAC
	if err := protojson.Unmarshal([]byte(`{"stat_prefix": "tcp.", `+text+`}`), &m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	store := stats.NewStore(stats.Options{})
	h, err := Extension().Wrap(&extension.Env{Stats: store}, &m, next)
	f, _ := h.(*Filter)
	return f, store, err
}

// pipe is a connection from an address to port 5432.
func pipe(from string) *conn.Conn {
	a, _ := net.Pipe()
	c := conn.New(a)
	c.Info().Local, c.Info().Remote = netip.MustParseAddrPort("10.0.0.1:5432"), netip.MustParseAddrPort(from+":1000")
	return c
}

const policies = `"policies": {"the office": {"permissions": [{"destination_port": 5432}], "principals": [{"remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}]}}`

func TestConnectionsAreAllowedOrDenied(t *testing.T) {
	const office, elsewhere = "10.1.2.3", "10.2.2.3"
	for _, tc := range []struct {
		cfg, from, details string // details "": it is allowed
		metadata           map[string]string
		want               map[string]int64
	}{
		{`"rules": {` + policies + `}`, office, "", nil, map[string]int64{"allowed": 1, "denied": 0, "shadow_allowed": 0}},
		{`"rules": {` + policies + `}`, elsewhere, "rbac_access_denied_matched_policy[none]", nil, map[string]int64{"allowed": 0, "denied": 1}},
		{`"rules": {"action": "DENY", ` + policies + `}`, office, "rbac_access_denied_matched_policy[the_office]", nil, map[string]int64{"denied": 1}},
		{`"rules": {"action": "DENY", ` + policies + `}`, elsewhere, "", nil, map[string]int64{"allowed": 1}},
		{`"rules": {}`, office, "rbac_access_denied_matched_policy[none]", nil, map[string]int64{"denied": 1}},
		{`"enforcement_type": "CONTINUOUS"`, office, "", nil, map[string]int64{"allowed": 0, "denied": 0}},
		{`"shadow_rules": {"action": "DENY", ` + policies + `}, "shadow_rules_stat_prefix": "dry_"`, office, "",
			map[string]string{"dry_shadow_engine_result": "denied", "dry_shadow_effective_policy_id": "the office"}, map[string]int64{"dry_.shadow_denied": 1}},
		{`"shadow_rules": {"action": "DENY", ` + policies + `}`, elsewhere, "", map[string]string{"shadow_engine_result": "allowed"},
			map[string]int64{"shadow_allowed": 1, "allowed": 0}},
		{`"rules": {"action": "LOG", ` + policies + `}`, office, "", map[string]string{"access_log_hint": "true"}, map[string]int64{"allowed": 1}},
		{`"rules": {"action": "LOG", ` + policies + `}`, elsewhere, "", map[string]string{"access_log_hint": "false"}, map[string]int64{"allowed": 1}},
	} {
		passed, done := false, errors.New("done")
		f, store, err := build(t, tc.cfg, func(context.Context, *conn.Conn) error {
			passed = true
			return done
		})
		if err != nil {
			t.Fatal(err)
		}
		c := pipe(tc.from)
		err = f.ServeConn(t.Context(), c)
		var denied *DeniedError
		if tc.details == "" && (!passed || err != done) || tc.details != "" && (passed || !errors.As(err, &denied) || denied.TerminationDetails() != tc.details) {
			t.Errorf("%s from %s: passed %v, %v", tc.cfg, tc.from, passed, err)
		}
		got := map[string]string{}
		for namespace, fields := range c.Info().Metadata {
			for k, v := range fields {
				if got[k] = v; (namespace == "envoy.common") != (k == "access_log_hint") || namespace != "envoy.common" && namespace != name {
					t.Errorf("%s is in %s", k, namespace)
				}
			}
		}
		if len(got) != len(tc.metadata) {
			t.Errorf("%s from %s: metadata %v", tc.cfg, tc.from, got)
		}
		for k, want := range tc.metadata {
			if got[k] != want {
				t.Errorf("%s from %s: %s is %q", tc.cfg, tc.from, k, got[k])
			}
		}
		for name, want := range tc.want {
			if n, _ := store.Value("tcp.rbac." + name); n != want {
				t.Errorf("%s from %s: %s is %d, want %d", tc.cfg, tc.from, name, n, want)
			}
		}
	}
}

func TestParkedConnectionsAreNotAskedAgain(t *testing.T) {
	f, store, err := build(t, `"rules": {`+policies+`}, "shadow_rules": {}`, func(_ context.Context, c *conn.Conn) error {
		c.IdleSince = 1
		return conn.ErrParked
	})
	if err != nil {
		t.Fatal(err)
	}
	c := pipe("10.1.2.3")
	for range 3 {
		if err := f.ServeConn(t.Context(), c); !errors.Is(err, conn.ErrParked) {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"allowed", "shadow_denied"} {
		if n, _ := store.Value("tcp.rbac." + name); n != 1 {
			t.Errorf("%s is %d", name, n)
		}
	}
}

func TestDenialIsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, err := build(t, `"rules": {}, "delay_deny": "3s"`, func(context.Context, *conn.Conn) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := f.ServeConn(t.Context(), pipe("10.1.2.3")); !errors.As(err, new(*DeniedError)) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.ServeConn(ctx, pipe("10.1.2.3")); !errors.As(err, new(*DeniedError)) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestWrongConfigurations(t *testing.T) {
	const http = `{"policies": {"p": {"permissions": [{"not_rule": {"header": {"name": "x"}}}], "principals": [{"any": true}]}}}`
	for text, want := range map[string]string{
		`"rules": ` + http:        `rules.policies["p"].permissions[0].not_rule.header: only the HTTP filter knows of requests`,
		`"shadow_rules": ` + http: `shadow_rules.policies["p"].permissions[0].not_rule.header: only the HTTP filter knows of requests`,
		`"matcher": {}`:           "matcher: not supported",
		`"shadow_matcher": {}`:    "shadow_matcher: not supported",
	} {
		if _, _, err := build(t, text, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := New(&extension.Env{Stats: stats.NewStore(stats.Options{})}, &rbacv3.RBAC{}, nil); err == nil {
		t.Error("a filter without stat_prefix is accepted")
	}
}
