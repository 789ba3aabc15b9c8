package resource

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// WriteTable writes the Markdown table of supported fields: every message of s with every field its descriptor has. Messages
// whose descriptor is not linked into the binary are an error.
func WriteTable(w io.Writer, s Support) error {
	b := bufio.NewWriter(w)
	b.WriteString("# Supported fields\n\n" +
		"Generated from the code. A message that is not on this page is not supported; a configuration that uses it is rejected\n" +
		"with the place of the field. \"no effect\" fields are accepted and ignored.\n")
	for _, name := range slices.Sorted(maps.Keys(s)) {
		d, err := descriptor(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "\n## %s\n\n", name)
		if d.Fields().Len() == 0 {
			b.WriteString("Has no fields.\n")
			continue
		}
		b.WriteString("| field | supported | note |\n|---|---|---|\n")
		for i := range d.Fields().Len() {
			writeField(b, d.Fields().Get(i), s[name])
		}
	}
	return b.Flush()
}

func writeField(b *bufio.Writer, fd protoreflect.FieldDescriptor, fields Fields) {
	name := string(fd.Name())
	status := fields[name]
	fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, status.Level, cell(status.Note))
	if fd.Enum() == nil {
		return
	}
	for i := range fd.Enum().Values().Len() {
		value := string(fd.Enum().Values().Get(i).Name())
		if status, ok := fields[name+"="+value]; ok {
			fmt.Fprintf(b, "| `%s: %s` | %s | %s |\n", name, value, status.Level, cell(status.Note))
		}
	}
}

// cell escapes text for a Markdown table cell.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}

// VerifyComplete says what is wrong with s as a table: messages that do not exist, fields of listed messages it forgets, and
// fields and enum values it lists that do not exist. It is for tests; the messages' Go packages must be linked.
func VerifyComplete(s Support) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		d, err := descriptor(name)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		for i := range d.Fields().Len() {
			field := d.Fields().Get(i).Name()
			if _, ok := s[name][string(field)]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s: field %s is forgotten", name, field))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(s[name])) {
			if !exists(d, key) {
				wrong = append(wrong, fmt.Sprintf("%s: there is no %s", name, key))
			}
		}
	}
	return wrong
}

// exists says whether d has the field or the enum value that a key of Fields names.
func exists(d protoreflect.MessageDescriptor, key string) bool {
	field, value, limited := strings.Cut(key, "=")
	fd := d.Fields().ByName(protoreflect.Name(field))
	if fd == nil || !limited {
		return fd != nil
	}
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	return fd.Enum() != nil && fd.Enum().Values().ByName(protoreflect.Name(value)) != nil
}

func descriptor(name protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a message", name)
	}
	return m, nil
}
