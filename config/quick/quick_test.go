package quick

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weftproxy/weft/resource"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden runs testdata/*.txtar: the comment holds the arguments, or the word default and the demo upstream.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := run(strings.Fields(string(archive.Comment)))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(got)
				if err != nil {
					t.Fatal(err)
				}
				archive.Files = []txtar.File{{Name: "bootstrap.json", Data: append(text, '\n')}}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := &bootstrapv3.Bootstrap{}
			if err := protojson.Unmarshal(archive.Files[0].Data, want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			valid(t, got)
		})
	}
}

// run reads arguments as weft proxy does.
func run(args []string) (*bootstrapv3.Bootstrap, error) {
	if args[0] == "default" {
		return Default(args[1])
	}
	var o Options
	for i := 0; i < len(args); i += 2 {
		if args[i] == "--insecure" {
			o.TLS.Insecure = true
			i--
			continue
		}
		switch args[i] {
		case "--from":
			o.From = args[i+1]
		case "--to":
			o.To = append(o.To, args[i+1])
		case "--admin":
			o.Admin = args[i+1]
		case "--cert":
			o.TLS.Cert = args[i+1]
		case "--key":
			o.TLS.Key = args[i+1]
		case "--ca":
			o.TLS.CA = args[i+1]
		case "--client-ca":
			o.TLS.ClientCA = args[i+1]
		}
	}
	return Bootstrap(o)
}

// valid checks the rules of the protos, in the Anys too.
func valid(t *testing.T, b *bootstrapv3.Bootstrap) {
	t.Helper()
	all := resource.Support{}
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		fields := resource.Fields{}
		for i := range m.Descriptor().Fields().Len() {
			fields.Yes(string(m.Descriptor().Fields().Get(i).Name()))
		}
		all[m.Descriptor().FullName()] = fields
		return true
	})
	var p resource.Problems
	resource.Check(b, "", all, protoregistry.GlobalTypes, &p)
	for _, problem := range p.All() {
		t.Error(problem)
	}
}

func TestClusterTypeFollowsTheTargets(t *testing.T) {
	for to, want := range map[string]clusterv3.Cluster_DiscoveryType{
		"http://127.0.0.1":                        clusterv3.Cluster_STATIC,
		"http://[::1]:3000/":                      clusterv3.Cluster_STATIC,
		"http://127.0.0.1:1,unix:/run/a.sock":     clusterv3.Cluster_STATIC,
		"http://localhost:3000,http://10.0.0.1:1": clusterv3.Cluster_STRICT_DNS,
		"tcp://db.example:5432":                   clusterv3.Cluster_STRICT_DNS,
		"tcp+unix:@abstract":                      clusterv3.Cluster_STATIC,
		"h2c://127.0.0.1,grpc://10.0.0.1:50051":   clusterv3.Cluster_STATIC,
		"grpc://api.example:50051":                clusterv3.Cluster_STRICT_DNS,
		"h2c+unix:/run/a.sock":                    clusterv3.Cluster_STATIC,
	} {
		b, err := Bootstrap(Options{From: ":1", To: []string{to}})
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		if got := b.GetStaticResources().GetClusters()[0].GetType(); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
		valid(t, b)
	}
}

func TestFromIsAnAddressToBind(t *testing.T) {
	for from, want := range map[string]string{
		":8080":           `{"socketAddress":{"address":"0.0.0.0","portValue":8080}}`,
		"127.0.0.1:8080":  `{"socketAddress":{"address":"127.0.0.1","portValue":8080}}`,
		"localhost:8080":  `{"socketAddress":{"address":"127.0.0.1","portValue":8080}}`,
		"[::]:8080":       `{"socketAddress":{"address":"::","portValue":8080,"ipv4Compat":true}}`,
		"[::1]:8080":      `{"socketAddress":{"address":"::1","portValue":8080}}`,
		"unix:/run/x":     `{"pipe":{"path":"/run/x"}}`,
		"unix:///run/x":   `{"pipe":{"path":"/run/x"}}`,
		"unix:@something": `{"pipe":{"path":"@something"}}`,
	} {
		a, err := parseListen("--from", from)
		if err != nil {
			t.Errorf("%s: %v", from, err)
			continue
		}
		got, err := protojson.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(string(got), " ", "") != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func TestErrorsNameTheArgumentAndTheForm(t *testing.T) {
	const to = "http://127.0.0.1:1"
	for _, test := range []struct {
		o    Options
		want []string
	}{
		{Options{To: []string{to}}, []string{"--from is missing"}},
		{Options{From: ":1"}, []string{"--to is missing", "http://host"}},
		{Options{From: ":1", To: []string{" , "}}, []string{"--to is missing"}},
		{Options{From: "8080", To: []string{to}}, []string{`--from "8080"`, "port is missing", "want :port"}},
		{Options{From: ":http", To: []string{to}}, []string{`--from ":http"`, `port "http"`}},
		{Options{From: ":0", To: []string{to}}, []string{`port "0"`}},
		{Options{From: ":65536", To: []string{to}}, []string{`port "65536"`}},
		{Options{From: "::1:80", To: []string{to}}, []string{`"::1" is not an IP address`}},
		{Options{From: "[127.0.0.1]:80", To: []string{to}}, []string{"is not an IP address"}},
		{Options{From: "[::1:80", To: []string{to}}, []string{"is not an IP address"}},
		{Options{From: "example.com:80", To: []string{to}}, []string{`"example.com" is not an IP address`}},
		{Options{From: "unix:x", To: []string{to}}, []string{"must begin with /"}},
		{Options{From: "unix:/" + strings.Repeat("x", 107), To: []string{to}}, []string{"longer than 107"}},
		{Options{From: ":1", To: []string{to}, Admin: "9901"}, []string{`--admin "9901"`}},
		{Options{From: ":1", To: []string{"https://a,http://a"}}, []string{"target 2 is http and target 1 is http with TLS"}},
		{Options{From: ":1", To: []string{"tls://a"}}, []string{"port is missing"}},
		{Options{From: ":1", To: []string{to}, TLS: TLS{Cert: "c"}}, []string{"--cert without --key"}},
		{Options{From: ":1", To: []string{to}, TLS: TLS{Key: "c"}}, []string{"--key without --cert"}},
		{Options{From: ":1", To: []string{to}, TLS: TLS{ClientCA: "c"}}, []string{"--client-ca without --cert"}},
		{Options{From: ":1", To: []string{to}, TLS: TLS{CA: "c"}}, []string{"--ca: no target has TLS"}},
		{Options{From: ":1", To: []string{to}, TLS: TLS{Insecure: true}}, []string{"--insecure: no target has TLS"}},
		{Options{From: ":1", To: []string{"https://a"}, TLS: TLS{Insecure: true, CA: "c"}}, []string{"--insecure and --ca"}},
		{Options{From: ":1", To: []string{"127.0.0.1:3000"}}, []string{"not a URL", "http://host"}},
		{Options{From: ":1", To: []string{"localhost:3000"}}, []string{"not a URL"}},
		{Options{From: ":1", To: []string{"ftp://a"}}, []string{`unknown scheme "ftp"`}},
		{Options{From: ":1", To: []string{"http://a/b"}}, []string{"without path"}},
		{Options{From: ":1", To: []string{"http://a?b"}}, []string{"without path"}},
		{Options{From: ":1", To: []string{"http://u:p@a"}}, []string{"passwords"}},
		{Options{From: ":1", To: []string{"http://:80"}}, []string{"host is missing"}},
		{Options{From: ":1", To: []string{"http://a:99999"}}, []string{`port "99999"`}},
		{Options{From: ":1", To: []string{"tcp://a"}}, []string{"port is missing"}},
		{Options{From: ":1", To: []string{"h2://a"}}, []string{`unknown scheme "h2"`, "h2c://host"}},
		{Options{From: ":1", To: []string{to, "grpc://a:1"}}, []string{"target 2 is h2c and target 1 is http"}},
		{Options{From: ":1", To: []string{"unix:"}}, []string{"path is missing"}},
		{Options{From: ":1", To: []string{to, "tcp://a:1"}}, []string{"target 2 is tcp and target 1 is http"}},
		{Options{From: ":1", To: []string{"http://a,unix:/b"}}, []string{"the name a and the unix socket /b"}},
	} {
		_, err := Bootstrap(test.o)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q in it", test.o, err, want)
			}
		}
	}
}
