package grpcjson

import (
	"encoding/json"
	"strings"
	"testing"
)

// split runs a text through a splitter in pieces of n bytes.
func split(text string, n int, s splitter) (values []string, err error) {
	for _, chunk := range dribble(text, n) {
		for rest := []byte(chunk); ; {
			var value []byte
			if value, rest, err = s.next(rest); err != nil {
				return values, err
			}
			if value == nil {
				break
			}
			values = append(values, string(value))
		}
	}
	value, err := s.finish()
	if value != nil {
		values = append(values, string(value))
	}
	return values, err
}

func TestSplitter(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+1)
	for _, tt := range []struct {
		text   string
		single bool
		want   string
		err    error
	}{
		{`{"a":1}`, true, `{"a":1}`, nil},
		{` [1, 2] `, true, `[1, 2]`, nil},
		{`"a\"]"`, true, `"a\"]"`, nil},
		{`-1.5e+3 `, true, `-1.5e+3`, nil},
		{`null`, true, `null`, nil},
		{`1 2`, true, `1`, errSyntax},
		{`{} {}`, true, `{}`, errSyntax},
		{`{}}`, true, `{}`, errSyntax},
		{`1}`, true, `1`, errSyntax},
		{``, true, ``, errNoValue},
		{` `, true, ``, errNoValue},
		{`{"a`, true, ``, errUnfinished},
		{`"a`, true, ``, errUnfinished},
		{`"\"`, true, ``, errUnfinished},
		{`,`, true, ``, errSyntax},
		{"[1]", false, `1`, nil},
		{"[1,\n\"2\", [3],{\"4\":[]}]\n", false, `1|"2"|[3]|{"4":[]}`, nil},
		{"[]", false, ``, nil},
		{"[1 2]", false, `1`, errSyntax},
		{"[1,]", false, `1`, errSyntax},
		{"[,1]", false, ``, errSyntax},
		{"[1}", false, `1`, errSyntax},
		{"[1", false, ``, errUnfinished},
		{"[", false, ``, errUnfinished},
		{"[1,", false, `1`, errUnfinished},
		{"[1] 2", false, `1`, errSyntax},
		{"{}{}\n{} [1] 2", false, `{}|{}|{}|[1]|2`, nil},
		{`1"2"3`, false, `1|"2"|3`, nil},
		{`{},{}`, false, `{}`, errSyntax},
		{``, false, ``, errNoValue},
		{deep, true, ``, errTooDeep},
		{`["]`, false, ``, errUnfinished},
		{`"` + strings.Repeat("x", 200) + `"`, true, ``, errRequestTooLarge},
		{`"` + strings.Repeat("x", 200), true, ``, errRequestTooLarge},
	} {
		for _, n := range []int{1, 2, 5, 1000} {
			values, err := split(tt.text, n, splitter{limit: 150, single: tt.single})
			if got := strings.Join(values, "|"); got != tt.want || err != tt.err && err == nil || tt.err != nil && err != tt.err {
				t.Errorf("%q in pieces of %d: got %s, %v; want %s, %v", tt.text, n, got, err, tt.want, tt.err)
			}
		}
	}
}

// FuzzSplitter checks that the pieces in which a text comes change nothing, and that well-formed text is taken apart as encoding/json
// does it.
func FuzzSplitter(f *testing.F) {
	for _, s := range []string{`[{"a":"\"]"},1,null]`, `{}{} "x"`, `[]`, `[[[1]]]`, `{"a":[`, "1\n2\n", `[1,]`} {
		f.Add(s, 3, false)
		f.Add(s, 1, true)
	}
	f.Fuzz(func(t *testing.T, text string, n int, single bool) {
		if n < 1 || len(text) > 1<<12 {
			return
		}
		s := splitter{limit: 1 << 12, single: single}
		whole, err := split(text, len(text)+1, s)
		pieces, errPieces := split(text, n, s)
		if (err == nil) != (errPieces == nil) || strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, err, pieces, errPieces)
		}
		if !json.Valid([]byte(text)) || nested(text) > maxDepth {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var list []json.RawMessage
		if single || text[strings.IndexAny(text, `[{"-0123456789tfn`)] != '[' {
			list = []json.RawMessage{json.RawMessage(strings.TrimSpace(text))}
		} else if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != len(whole) {
			t.Fatalf("%q: %d values, want %d", text, len(whole), len(list))
		}
		for i := range list {
			if string(list[i]) != whole[i] {
				t.Fatalf("%q: value %d is %q, want %q", text, i, whole[i], list[i])
			}
		}
	})
}

// nested is at most how deep a text's brackets are.
func nested(text string) int {
	depth, most := 0, 0
	for _, c := range text {
		switch c {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		}
	}
	return most
}
