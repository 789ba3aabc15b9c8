package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/config/file"
	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

func TestSupportedFieldsPageIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := write(&want); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../supported-fields.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("docs/supported-fields.md is not what the code says: run make docs")
	}
}

func TestEveryFieldOfEveryListedMessageIsAccountedFor(t *testing.T) {
	r, err := extension.NewRegistry(builtin.Extensions())
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range resource.VerifyComplete(r.Support()) {
		t.Error(missing)
	}
}

func TestLifeOfAnExchangeNamesTheStages(t *testing.T) {
	page, err := os.ReadFile("../life-of-an-exchange.md")
	if err != nil {
		t.Fatal(err)
	}
	var line bytes.Buffer
	for i, s := range exchange.Stages() {
		if i > 0 {
			line.WriteString(" → ")
		}
		line.WriteString(s)
		if !bytes.Contains(page, []byte("\n| "+s+" |")) {
			t.Errorf("docs/life-of-an-exchange.md has no row for stage %q", s)
		}
	}
	if !bytes.Contains(page, line.Bytes()) {
		t.Errorf("docs/life-of-an-exchange.md does not give the stages in order: %s", line.String())
	}
}

// TestConfigurationInTheDocsIsKnown reads the pieces of configuration in the pages: each has only fields that are supported.
func TestConfigurationInTheDocsIsKnown(t *testing.T) {
	r, err := extension.NewRegistry(builtin.Extensions())
	if err != nil {
		t.Fatal(err)
	}
	around := map[string]string{ // what a piece that begins like this is a part of
		"  clusters:": "static_resources:\n",
		"          common_tls_context:": "static_resources:\n  listeners:\n  - name: l\n    address: {socket_address: {address: 127.0.0.1, port_value: 1}}\n" +
			"    filter_chains:\n    - transport_socket:\n        name: tls\n        typed_config:\n" +
			"          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n",
		"    filter_chains:": "static_resources:\n  listeners:\n  - name: l\n    address: {socket_address: {address: 127.0.0.1, port_value: 1}}\n",
	}
	pages, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range pages {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, piece := range strings.Split(string(page), "\n```yaml\n")[1:] {
			piece, _, _ = strings.Cut(piece, "\n```")
			first, _, _ := strings.Cut(piece, "\n")
			before := around[first]
			seen++
			if strings.HasPrefix(first, "version_info:") {
				_, _, problems := file.Parse(file.Options{Path: filepath.Base(name) + ".yaml", Support: r.Support()}, []byte(piece), &discoveryv3.DiscoveryResponse{})
				for _, p := range problems.All() {
					t.Errorf("piece %d: %v", i+1, p)
				}
				continue
			}
			_, problems := file.Load(file.Options{Inline: before + piece, Support: r.Support()})
			for _, p := range problems.All() {
				if p.Severity == resource.Error {
					t.Errorf("%s, piece %d: %v", filepath.Base(name), i+1, p)
				}
			}
		}
	}
	if seen < 4 {
		t.Errorf("%d pieces found", seen)
	}
}
