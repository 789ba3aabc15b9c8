package format

import (
	"errors"
	"fmt"
	"time"

	"github.com/weftproxy/weft/observe"
)

// An operator is one compiled command. Immutable.
type operator struct {
	// run appends the text; false: there is no value, and what was appended is dropped.
	run  func(o *operator, dst []byte, e *observe.Entry) ([]byte, bool)
	kind kind
	peer bool // the text may hold bytes that a peer chose
	max  int  // longest text in bytes; -1: any

	// Arguments, as far as the operator has them.
	main, alt field
	text      string
	path      []string
	flags     uint8
	layout    []timeStep
	unit      time.Duration
	number    func(e *observe.Entry) (uint64, bool)
	span      [2]moment
	address   func(e *observe.Entry) address
	metadata  func(e *observe.Entry, namespace string) (any, bool)
	get       func(e *observe.Entry) string
}

// A kind says what the operator's value is in typed JSON.
type kind uint8

const (
	kindString kind = iota
	kindNumber      // run's text is a JSON number
	kindValue       // any JSON value: see appendValue
)

// append appends the value as text, truncated.
func (o *operator) append(dst []byte, e *observe.Entry) ([]byte, bool) {
	start := len(dst)
	dst, ok := o.run(o, dst, e)
	if ok && o.max >= 0 && len(dst)-start > o.max {
		dst = dst[:start+o.max]
	}
	return dst, ok
}

// syntax is what an operator accepts besides its name.
type syntax uint8

const (
	noArgs   syntax = 0
	needArgs syntax = 1 << iota
	mayArgs
	mayTruncate
)

// A definition is an operator that Weft has.
type definition struct {
	syntax  syntax
	compile func(c command, o Options) (*operator, error)
}

// compile makes the operator of a command.
func compile(c command, o Options) (*operator, error) {
	d, ok := definitions[c.name]
	if !ok {
		if why, known := refused[c.name]; known {
			return nil, errors.New("not supported: " + why)
		}
		return nil, errors.New("there is no such operator")
	}
	switch {
	case d.syntax&needArgs != 0 && c.args == "":
		return nil, errors.New("needs parameters in parentheses")
	case d.syntax&(needArgs|mayArgs) == 0 && c.paren:
		return nil, errors.New("does not take any parameters")
	case d.syntax&mayTruncate == 0 && c.max >= 0:
		return nil, errors.New("does not allow a length")
	}
	op, err := d.compile(c, o)
	if err != nil {
		return nil, err
	}
	op.max = c.max
	op.peer = op.peer || o.OneLine
	return op, nil
}

// definitions holds every operator. Immutable.
var definitions = merge(headerOperators, timeOperators, numberOperators, addressOperators, stringOperators, tlsOperators, metadataOperators)

func merge(tables ...map[string]definition) map[string]definition {
	all := map[string]definition{}
	for _, t := range tables {
		for name, d := range t {
			if _, twice := all[name]; twice {
				panic(fmt.Sprintf("format: operator %s is defined twice", name))
			}
			all[name] = d
		}
	}
	return all
}

// refused names the operators that Envoy has and Weft has not, with the reason. Immutable.
var refused = map[string]string{
	"TRACE_ID":              "there is no tracing yet",
	"SPAN_ID":               "there is no tracing yet",
	"COALESCE":              "write the alternative into the operator, %REQ(X?Y)%",
	"CEL":                   "there are no CEL expressions yet",
	"TYPED_CEL":             "there are no CEL expressions yet",
	"SECRET":                "secrets are not for logs and headers",
	"FILE_CONTENT":          "files are not watched for formats",
	"DYNAMIC_MODULE":        "there are no dynamic modules",
	"UPSTREAM_FILTER_STATE": "there are no upstream filters yet",
	"UPSTREAM_CONNECTION_POOL_READY_DURATION":       "not measured",
	"DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256":        "the issuer that was found is not kept; see DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
	"DOWNSTREAM_PEER_ISSUER_SERIAL":                 "the issuer that was found is not kept; see DOWNSTREAM_PEER_CHAIN_SERIALS",
	"ROUNDTRIP_DURATION":                            "there is no HTTP/3 yet",
	"BYTES_RETRANSMITTED":                           "there is no HTTP/3 yet",
	"PACKETS_RETRANSMITTED":                         "there is no HTTP/3 yet",
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED":   "not measured; use UPSTREAM_HEADER_BYTES_RECEIVED",
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":       "not measured; use UPSTREAM_HEADER_BYTES_SENT",
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": "not measured; use DOWNSTREAM_HEADER_BYTES_RECEIVED",
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":     "not measured; use DOWNSTREAM_HEADER_BYTES_SENT",
}

// Operators returns the names of all operators that Compile accepts, and those it refuses with the reason, for documentation.
func Operators() (accepted []string, rejected map[string]string) {
	for name := range definitions {
		accepted = append(accepted, name)
	}
	rejected = make(map[string]string, len(refused))
	for name, why := range refused {
		rejected[name] = why
	}
	return accepted, rejected
}
