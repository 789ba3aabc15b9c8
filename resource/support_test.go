package resource

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommonSupportListsEveryField(t *testing.T) {
	s, err := Values().Merge(Core(), Matchers())
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range VerifyComplete(s) {
		t.Error(wrong)
	}
}

func TestMergeRefusesContradictions(t *testing.T) {
	a := Support{"x.A": Names("b c")}
	if _, err := a.Merge(Support{"x.A": Names("c b")}, Support{"x.B": Names("d")}, nil); err != nil {
		t.Errorf("equal tables: %v", err)
	}
	for _, other := range []Fields{Names("b"), Names("b c d"), Names("b").No("c", ""), Names("b").YesBut("c", "x")} {
		if _, err := a.Merge(Support{"x.A": other}); err == nil || !strings.Contains(err.Error(), "x.A") {
			t.Errorf("%v: %v, want an error that names x.A", other, err)
		}
	}
	if len(a) != 1 {
		t.Error("Merge changed its receiver")
	}
}

func TestVerifyCompleteFindsMistakes(t *testing.T) {
	wrong := VerifyComplete(Support{
		"envoy.config.core.v3.Pipe":          Names("path moode"),
		"envoy.config.core.v3.Nothing":       Names(""),
		"envoy.config.core.v3.SocketAddress": Names("protocol address port_value named_port resolver_name ipv4_compat network_namespace_filepath").No("protocol=SCTP address=X", ""),
	})
	text := strings.Join(wrong, "\n")
	for _, want := range []string{"Pipe: field mode is forgotten", "Pipe: there is no moode", "v3.Nothing", "there is no protocol=SCTP", "there is no address=X"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if len(wrong) != 5 {
		t.Errorf("%d mistakes, want 5:\n%s", len(wrong), text)
	}
}

func TestTableHasEveryField(t *testing.T) {
	var b bytes.Buffer
	err := WriteTable(&b, Support{
		"envoy.config.core.v3.SocketAddress": Names("address").YesBut("protocol", "a|b").No("protocol=UDP", "not yet").NoEffect("ipv4_compat", "why"),
		"envoy.config.core.v3.TcpKeepalive":  Names("keepalive_time"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## envoy.config.core.v3.SocketAddress\n", "| `address` | yes |  |\n", "| `protocol` | yes | a\\|b |\n",
		"| `protocol: UDP` | no | not yet |\n", "| `ipv4_compat` | no effect | why |\n", "| `resolver_name` | no |  |\n", "| `keepalive_probes` | no |  |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if err := WriteTable(&b, Support{"x.Y": nil}); err == nil {
		t.Error("a message without descriptor is no error")
	}
}
