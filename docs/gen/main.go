// Command gen writes docs/supported-fields.md from the tables in the code.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/weftproxy/weft/builtin"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/resource"
)

const target = "docs/supported-fields.md"

func main() {
	var b bytes.Buffer
	if err := write(&b); err == nil {
		err = os.WriteFile(target, b.Bytes(), 0o644)
		if err == nil {
			return
		}
		fmt.Fprintln(os.Stderr, err)
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(1)
}

const preface = `# Supported fields

Generated from the code by ` + "`make docs`" + `. For each message of Envoy's v3 API that Weft reads: what it does with each field. A message
or an extension that is not listed is not supported. What is not supported is an error that names the field.

`

// write generates the page.
func write(w io.Writer) error {
	r, err := extension.NewRegistry(builtin.Extensions())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, preface); err != nil {
		return err
	}
	return resource.WriteTable(w, r.Support())
}
