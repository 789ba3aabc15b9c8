package xfcc

import (
	"errors"
	"fmt"
	"strings"
)

// What is wrong with a header.
var (
	errQuote = errors.New("xfcc: a quoted value does not end")
	errAfter = errors.New("xfcc: text after a quoted value")
	errPair  = errors.New("xfcc: a pair has no key or no value")
)

// Parse reads a header's value, several fields of it joined with commas. The last element is of the proxy that is nearest. Keys are
// taken in any case, and those that are not known are passed over. The strings are parts of value, but for quoted ones with escapes in
// them.
func Parse(value string) ([]Element, error) {
	var all []Element
	for rest := strings.TrimLeft(value, " \t"); ; {
		var e Element
		var err error
		var more bool
		if rest, more, err = e.parse(rest); err != nil {
			return nil, err
		}
		all = append(all, e)
		if !more {
			return all, nil
		}
	}
}

// Closed reports whether every quote of a header's value is closed. What is appended to one that is not would be read as part of it.
func Closed(value string) bool {
	for {
		i := strings.IndexByte(value, '"')
		if i < 0 {
			return true
		}
		_, n, ok := quoted(value[i:])
		if !ok {
			return false
		}
		value = value[i+n:]
	}
}

// parse reads the element at the beginning of s. more says that another one follows.
func (e *Element) parse(s string) (rest string, more bool, err error) {
	for {
		eq := strings.IndexByte(s, '=')
		key := strings.Trim(s[:max(eq, 0)], " \t")
		if key == "" || strings.ContainsAny(key, ",;\"") {
			return "", false, errPair
		}
		value, isQuoted, n, err := scan(s[eq+1:])
		if err != nil {
			return "", false, err
		}
		if err := e.set(key, value, isQuoted); err != nil {
			return "", false, err
		}
		s = s[eq+1+n:]
		if s == "" {
			return "", false, nil
		}
		if s[0] == ',' {
			return s[1:], true, nil
		}
		s = s[1:] // a semicolon
	}
}

// scan reads the value at the beginning of s: what is between the quotes, or what is before the next separator. n is where that stands.
func scan(s string) (value string, isQuoted bool, n int, err error) {
	if !strings.HasPrefix(s, `"`) {
		n = strings.IndexAny(s, ",;")
		if n < 0 {
			n = len(s)
		}
		return strings.TrimRight(s[:n], " \t"), false, n, nil
	}
	value, n, ok := quoted(s)
	if !ok {
		return "", false, 0, errQuote
	}
	for n < len(s) && (s[n] == ' ' || s[n] == '\t') {
		n++
	}
	if n < len(s) && s[n] != ',' && s[n] != ';' {
		return "", false, 0, errAfter
	}
	return value, true, n, nil
}

// quoted reads the quoted text at the beginning of s, which begins with a quote. A backslash takes the meaning from the byte after it.
func quoted(s string) (text string, n int, ok bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], i + 1, true
		}
	}
	return "", 0, false
}

func (e *Element) set(key, value string, isQuoted bool) error {
	if strings.EqualFold(key, "subject") {
		if e.HasSubject {
			return twice(key)
		}
		if !isQuoted && strings.ContainsAny(value, `"\`) {
			value = string(appendEscaped(nil, value))
		}
		e.Subject, e.HasSubject = value, true
		return nil
	}
	if isQuoted {
		value = unescape(value)
	}
	switch strings.ToLower(key) {
	case "by":
		e.By = append(e.By, value)
	case "hash":
		return once(&e.Hash, key, value)
	case "cert":
		return once(&e.Cert, key, value)
	case "chain":
		return once(&e.Chain, key, value)
	case "uri":
		e.HasURI = true
		if value != "" {
			e.URI = append(e.URI, value)
		}
	case "dns":
		e.DNS = append(e.DNS, value)
	}
	return nil
}

func once(field *string, key, value string) error {
	if *field != "" {
		return twice(key)
	}
	*field = value
	return nil
}

func twice(key string) error { return fmt.Errorf("xfcc: %s is given twice", strings.ToLower(key)) }

// unescape takes the backslash from before quotes and backslashes.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
