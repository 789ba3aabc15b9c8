package stats

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// kind is what a series is.
type kind uint8

const (
	counter kind = iota
	gauge
	histogram
	text
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram", "text"}[k] }

// An item is a series below its scope, as the writers see it. Immutable.
type item struct {
	name   string // below the scope: "upstream_rq_503"
	metric string // without the parts that are values of tags: "upstream_rq"
	tags   []Tag
	unit   string
	kind   kind
	hide   bool // not shown until used

	// Where the value is: a field of a group's lanes, or a series.
	offset uintptr // of the Counter, Gauge, Histogram or Codes in the lane
	status int     // of Codes: one status
	class  int     // of Codes: the class, 1 to 5
	past   int     // of histograms: its place in laneTable.past
	single *series
}

// A layout is what reflection found in a group's type. Immutable but for the cache in codesField.
type layout struct {
	items      []*item // counters, gauges and the classes of Codes, sorted by name
	histograms []*item // sorted by name
	codes      []*codesField
}

// codesField is a Codes in a group's type.
type codesField struct {
	name   string
	offset uintptr
	seen   [maxStatus - minStatus + 1]atomic.Pointer[item] // made when first printed
}

// item is the series of one status.
func (f *codesField) item(status int) *item {
	slot := &f.seen[status-minStatus]
	if it := slot.Load(); it != nil {
		return it
	}
	code := strconv.Itoa(status)
	slot.CompareAndSwap(nil, &item{
		name: f.name + "_" + code, metric: f.name, tags: []Tag{{"envoy.response_code", code}},
		kind: counter, hide: true, offset: f.offset, status: status,
	})
	return slot.Load()
}

// newLayout reads the struct type t. It panics if a field is not a metric or has no name: such a type is a mistake in the
// program, and the first test that uses it shows that.
func newLayout(t reflect.Type) *layout {
	l := new(layout)
	l.add(t, "", 0)
	byName := func(a, b *item) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(l.items, byName)
	slices.SortFunc(l.histograms, byName)
	for i, h := range l.histograms {
		h.past = i
	}
	for i := 1; i < len(l.items); i++ {
		if l.items[i].name == l.items[i-1].name {
			panic(fmt.Sprintf("stats: %v has two fields named %q", t, l.items[i].name))
		}
	}
	return l
}

func (l *layout) add(t reflect.Type, prefix string, base uintptr) {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("stats: %v is not a struct of metrics", t))
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue // padding
		}
		name, tagged := f.Tag.Lookup("stat")
		it := &item{name: prefix + name, metric: prefix + name, unit: f.Tag.Get("unit"), hide: f.Tag.Get("zero") == "hide",
			offset: base + f.Offset}
		switch f.Type {
		case reflect.TypeFor[Counter]():
			it.kind = counter
			it.metric, it.tags = splitStatus(it.name)
			l.items = append(l.items, it)
		case reflect.TypeFor[Gauge]():
			it.kind = gauge
			l.items = append(l.items, it)
		case reflect.TypeFor[Histogram]():
			it.kind = histogram
			l.histograms = append(l.histograms, it)
		case reflect.TypeFor[Codes]():
			l.addCodes(it, f.Tag.Get("codes") == "class")
		default:
			l.add(f.Type, prefix+name, it.offset)
			continue
		}
		if !tagged || name == "" {
			panic(fmt.Sprintf(`stats: field %s of %v has no stat:"name"`, f.Name, t))
		}
	}
}

func (l *layout) addCodes(it *item, classOnly bool) {
	for class := 1; class <= 5; class++ {
		n := strconv.Itoa(class)
		l.items = append(l.items, &item{
			name: it.name + "_" + n + "xx", metric: it.name + "_xx", tags: []Tag{{"envoy.response_code_class", n}},
			kind: counter, hide: it.hide, offset: it.offset, class: class,
		})
	}
	if !classOnly {
		l.codes = append(l.codes, &codesField{name: it.name, offset: it.offset})
	}
}

// find is the item of this name, nil if the layout has none.
func (l *layout) find(name string) *item {
	for _, items := range [][]*item{l.items, l.histograms} {
		if i, ok := slices.BinarySearchFunc(items, name, func(it *item, s string) int { return strings.Compare(it.name, s) }); ok {
			return items[i]
		}
	}
	for _, f := range l.codes {
		if code, ok := strings.CutPrefix(name, f.name+"_"); ok && len(code) == 3 {
			if status, err := strconv.Atoi(code); err == nil && status >= minStatus {
				return f.item(status)
			}
		}
	}
	return nil
}
