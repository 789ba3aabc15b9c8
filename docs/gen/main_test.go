package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/weftproxy/weft/builtin"
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
