package secret

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftproxy/weft/resource"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 16 << 20

// inline is what Envoy shows as the path of what is no file.
const inline = "<inline>"

// A part is one of the data sources that a secret is made of.
type part struct {
	field resource.Path // below the secret's message: "private_key", "keys[0]"
	src   *corev3.DataSource
}

// name is the source for people: the file's name, or inline.
func (p part) name() string {
	switch {
	case p.src.GetFilename() != "":
		return p.src.GetFilename()
	case p.src == nil:
		return ""
	}
	return inline
}

// A fault is what is wrong with a part of a secret. It is an error.
type fault struct {
	field resource.Path // below the secret's message; "" is the message
	hint  string
	text  string
}

func (f *fault) Error() string {
	if f.field == "" {
		return f.text
	}
	return string(f.field) + ": " + f.text
}

func faultf(field resource.Path, hint, format string, args ...any) error {
	return &fault{field, hint, fmt.Sprintf(format, args...)}
}

// asFault is err as a fault.
func asFault(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{text: err.Error()}
}

// path is the place of a field below the message at a place.
func path(at, field resource.Path) resource.Path {
	if field == "" {
		return at
	}
	return at.Field(string(field))
}

// inputs is what was read of a secret's parts.
type inputs struct {
	parts []part
	data  [][]byte // of each part; nil of one that is not set
	sum   sum      // of all of it
	notes []fault  // warnings, added while it is parsed

	untimely bool // a certificate may have expired
}

// sum identifies content.
type sum [sha256.Size]byte

// warn notes something that is no error.
func (in *inputs) warn(field resource.Path, format string, args ...any) {
	in.notes = append(in.notes, fault{field: field, text: fmt.Sprintf(format, args...)})
}

// readAll reads all parts. Files that change meanwhile are read again, so that what is returned has been there at one time.
func (s *Store) readAll(parts []part, salt []byte) (*inputs, signature, error) {
	const attempts = 4
	files := filesOf(parts)
	for attempt := 1; ; attempt++ {
		before := sign(files)
		in, err := s.readOnce(parts, salt)
		if len(files) == 0 || attempt == attempts || before == sign(files) {
			return in, before, err
		}
	}
}

func (s *Store) readOnce(parts []part, salt []byte) (*inputs, error) {
	in := &inputs{parts: parts, data: make([][]byte, len(parts))}
	h := sha256.New()
	add(h, salt)
	for i, p := range parts {
		if p.src == nil {
			add(h, nil)
			continue
		}
		b, err := s.read(p.src)
		if err != nil {
			return nil, faultf(p.field, "", "%v", err)
		}
		in.data[i] = b
		add(h, []byte(p.name()))
		add(h, b)
	}
	h.Sum(in.sum[:0])
	return in, nil
}

// add adds a piece to a hash so that pieces cannot run into one another.
func add(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	_, _ = h.Write(n[:])
	_, _ = h.Write(b)
}

// read is what a data source has. The result is read only.
func (s *Store) read(src *corev3.DataSource) ([]byte, error) {
	switch x := src.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		return readFile(x.Filename)
	case *corev3.DataSource_InlineBytes:
		return x.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(x.InlineString), nil
	case *corev3.DataSource_EnvironmentVariable:
		value, ok := s.getenv(x.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("environment variable %q does not exist", x.EnvironmentVariable)
		}
		return []byte(value), nil
	}
	return nil, errors.New("the data source is empty: it wants a filename, inline_string, inline_bytes or environment_variable")
}

// readWait is how long a file that is none, but a pipe, may take.
const readWait = 5 * time.Second

func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // else a pipe is waited for that nobody writes to
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	_ = f.SetReadDeadline(time.Now().Add(readWait)) // which files have none of
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("file %s has more than %d bytes", name, maxFile)
	}
	return b, nil
}

// filesOf is the files among parts.
func filesOf(parts []part) []string {
	var out []string
	for _, p := range parts {
		if name := p.src.GetFilename(); name != "" {
			out = append(out, name)
		}
	}
	return out
}
