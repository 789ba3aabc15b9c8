package exchange

import (
	"slices"
	"testing"

	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

func mutation(t testing.TB, name, value string, action Action, keepEmpty bool) Mutation {
	t.Helper()
	f, err := format.Compile(value, format.Options{OmitEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	return Mutation{name, f, action, keepEmpty}
}

func TestMutationsApply(t *testing.T) {
	add := func(name, value string, a Action) Mutation { return mutation(t, name, value, a, false) }
	for _, c := range []struct {
		name string
		m    Mutations
		want []string // of "a" and "b", after a: 1 and a: 2
	}{
		{"nothing", Mutations{}, []string{"a=1", "a=2"}},
		{"remove", Mutations{Remove: []string{"A"}}, nil},
		{"append", Mutations{Add: []Mutation{add("a", "3", AppendIfExistsOrAdd)}}, []string{"a=1", "a=2", "a=3"}},
		{"append new", Mutations{Add: []Mutation{add("b", "3", AppendIfExistsOrAdd)}}, []string{"a=1", "a=2", "b=3"}},
		{"add if absent, there", Mutations{Add: []Mutation{add("a", "3", AddIfAbsent)}}, []string{"a=1", "a=2"}},
		{"add if absent", Mutations{Add: []Mutation{add("b", "3", AddIfAbsent)}}, []string{"a=1", "a=2", "b=3"}},
		{"overwrite", Mutations{Add: []Mutation{add("a", "3", OverwriteIfExistsOrAdd)}}, []string{"a=3"}},
		{"overwrite or add", Mutations{Add: []Mutation{add("b", "3", OverwriteIfExistsOrAdd)}}, []string{"a=1", "a=2", "b=3"}},
		{"overwrite if exists", Mutations{Add: []Mutation{add("a", "3", OverwriteIfExists), add("b", "4", OverwriteIfExists)}}, []string{"a=3"}},
		{"remove before add", Mutations{Remove: []string{"a"}, Add: []Mutation{add("a", "3", AddIfAbsent)}}, []string{"a=3"}},
		{"overwrites go before additions", Mutations{Add: []Mutation{add("a", "3", AppendIfExistsOrAdd), add("a", "4", OverwriteIfExistsOrAdd)}}, []string{"a=4", "a=3"}},
		{"empty values are left out", Mutations{Add: []Mutation{add("b", "", AppendIfExistsOrAdd), add("a", "%REQ(none)%", OverwriteIfExists)}}, []string{"a=1", "a=2"}},
		{"unless kept", Mutations{Add: []Mutation{mutation(t, "b", "", AppendIfExistsOrAdd, true)}}, []string{"a=1", "a=2", "b="}},
		{"operators see what was before", Mutations{Add: []Mutation{add("a", "3", OverwriteIfExists), add("b", "%REQ(a)%", AppendIfExistsOrAdd)}}, []string{"a=3", "b=1"}},
	} {
		req := request("http", "h", "/", "a", "1", "a", "2")
		c.m.Apply(&req.Header, &observe.Entry{Request: req, Record: &observe.Record{}})
		var got []string
		for name, value := range req.Header.All() {
			got = append(got, name+"="+value)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMutationsAllocateNothingInSteadyState(t *testing.T) {
	m := Mutations{Remove: []string{"x-gone"}, Add: []Mutation{
		mutation(t, "x-a", "some value that is longer than thirty-two bytes", AppendIfExistsOrAdd, false),
		mutation(t, "x-b", "%REQ(:PATH)%", OverwriteIfExistsOrAdd, false)}}
	req := request("http", "h", "/path")
	e := &observe.Entry{Request: req, Record: &observe.Record{}}
	var h message.Header
	if n := testing.AllocsPerRun(200, func() {
		h.Reset()
		h.AddKnown(message.Server, "x")
		m.Apply(&h, e)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
