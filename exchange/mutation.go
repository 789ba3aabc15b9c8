package exchange

import (
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/observe/format"
)

// Mutations are compiled header additions and removals of one level of the configuration. Removals happen first.
type Mutations struct {
	Remove []string
	Add    []Mutation
}

// A Mutation is one HeaderValueOption.
type Mutation struct {
	Name      string
	Value     *format.Format
	Action    Action
	KeepEmpty bool
}

// Action says what to do when the header exists already (Envoy's HeaderAppendAction).
type Action uint8

// The actions.
const (
	AppendIfExistsOrAdd Action = iota
	AddIfAbsent
	OverwriteIfExistsOrAdd
	OverwriteIfExists
)

// Apply changes h. e is what the values' command operators see. As in Envoy the values are all made before any is set, and what
// overwrites is set before what is added.
func (m *Mutations) Apply(h *message.Header, e *observe.Entry) {
	for _, name := range m.Remove {
		h.Del(name)
	}
	if len(m.Add) == 0 {
		return
	}
	var places [16]edit
	values, edits := h.Spare(), places[:0]
	for i := range m.Add {
		a := &m.Add[i]
		exists := h.Has(a.Name)
		if exists && a.Action == AddIfAbsent || !exists && a.Action == OverwriteIfExists {
			continue
		}
		from := len(values)
		values = a.Value.Append(values, e)
		if len(values) > from || a.KeepEmpty {
			edits = append(edits, edit{a, from, len(values) - from})
		}
	}
	base := h.Block(values)
	for _, o := range edits {
		if o.to.overwrites() {
			h.Set(o.to.Name, h.Borrow(base+o.at, o.n))
		}
	}
	for _, o := range edits {
		if !o.to.overwrites() {
			h.Add(o.to.Name, h.Borrow(base+o.at, o.n))
		}
	}
}

// An edit is a mutation with its value's place in the text of all values.
type edit struct {
	to    *Mutation
	at, n int
}

func (m *Mutation) overwrites() bool {
	return m.Action == OverwriteIfExistsOrAdd || m.Action == OverwriteIfExists
}
